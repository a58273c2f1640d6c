"""Runs one sandbox on loopback until it is told to end: `python -m bot.sandbox.serve --start 2025-01-02T08:00`."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading

import uvicorn

from bot.errors import BotError, Refused
from bot.sandbox.app import app_of
from bot.sandbox.faults import ResettableProtocol
from bot.sandbox.settings import SandboxSettings, settings_of
from bot.sandbox.world import World, world_of

LOOPBACK = "127.0.0.1"
_STOP_WITHIN_S = 1  # an answer that hangs on purpose must not keep the process


class _Server(uvicorn.Server):
    """uvicorn's server that says in one JSON line where it listens."""

    def __init__(self, config: uvicorn.Config, world: World, port: int) -> None:
        """`port` is the one it is bound to."""
        super().__init__(config)
        self._world = world
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        told = {"listening": f"http://{LOOPBACK}:{self._port}", "now": self._world.now().isoformat()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def serve(settings: SandboxSettings) -> None:
    """Serve the sandbox on 127.0.0.1 until a signal, or the end of stdin when the settings say so.

    Raises:
        Refused: the market can't be had, or the port is taken.
    """
    world = world_of(settings)
    listener = _listener(settings.port)
    config = uvicorn.Config(
        app_of(world),
        http=ResettableProtocol,
        lifespan="off",
        loop="asyncio",
        ws="none",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    server = _Server(config, world, listener.getsockname()[1])
    if settings.until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt), listener:
        server.run(sockets=[listener])


def _listener(port: int) -> socket.socket:
    """A socket bound to `port` on loopback, 0 = any free one.

    Raises:
        Refused: the port is taken or not ours to take.
    """
    # The protocol said aloud: asyncio sets TCP_NODELAY only then, and without it each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(128)  # SO_REUSEADDR lets two bind; only listening finds a taken port for sure
    except OSError as taken:
        listener.close()
        raise Refused(f"sandbox: can't listen on {LOOPBACK}:{port}: {taken.strerror}") from taken
    return listener


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    """End the server when whoever started it is gone."""
    sys.stdin.buffer.read()
    server.should_exit = True


def main() -> int:
    """The process's exit code: 0 ended, 1 refused with one line on stderr."""
    try:
        serve(settings_of())
    except BotError as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
