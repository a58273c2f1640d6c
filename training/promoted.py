"""Which adapter is live: put there whole, switched in one step, and taken back with one command.

An adapter is copied to a place beside the models, then renamed to its own, then promoted.json is replaced. Each step is
on the disk before the next begins, so a process that dies anywhere leaves the old adapter live or the new one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from bot.adapters.adapter_store import (
    FOLDER,
    MANIFEST,
    PROMOTED,
    WEIGHTS,
    AdapterManifest,
    read_adapter,
    write_adapter,
)
from bot.errors import Refused

CARD: Final = "README.md"
LOCK: Final = ".promoting.lock"
STAGED: Final = ".staged-adapter-"


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """One change of what is live: to `name` from `origin`; "" is the base alone.

    `forced`: criteria failed, and a person said in `reason` why it goes live. A "rollback" takes earlier ones back.
    """

    name: str
    at: datetime
    origin: str = msgspec.field(name="from")
    reason: str = ""
    forced: bool = False
    scores: dict[str, float] = msgspec.field(default_factory=dict)
    action: Literal["promote", "rollback"] = "promote"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """promoted.json: the live adapter's name, "" for none, and how it came to that, oldest first."""

    live: str = ""
    history: tuple[Switch, ...] = ()

    @property
    def line(self) -> tuple[str, ...]:
        """The live adapter last, before it what a rollback would bring back, and so on; empty for the base alone."""
        stack: list[str] = []
        for one in self.history:
            if one.action == "promote":
                stack.append(one.name)
            else:
                while stack and stack[-1] != one.name:
                    stack.pop()
        return tuple(stack)


def standing(models: Path) -> Standing:
    """What is live in the models' folder, and its history.

    Raises:
        Refused: promoted.json can't be read.
    """
    path = models / FOLDER / PROMOTED
    try:
        return msgspec.json.decode(path.read_bytes(), type=Standing)
    except FileNotFoundError:
        return Standing()
    except (OSError, msgspec.DecodeError) as wrong:
        raise Refused(f"{path}: {wrong}") from wrong


def promote(
    folder: Path,
    models: Path,
    *,
    card: str,
    scores: Mapping[str, float],
    at: datetime,
    reason: str = "",
    forced: bool = False,
) -> Switch:
    """Make the adapter in `folder` the live one; `card` is its README.md. Criteria have been judged before.

    Raises:
        Refused: it is damaged, live already, or another adapter of its name is there.
    """
    manifest = read_adapter(folder)
    with _only_one(models):
        now = standing(models)
        if now.live == manifest.name:
            raise Refused(f"{manifest.name} is live already")
        with _one_line(manifest.name):
            _put(folder, models, replace(manifest, scores=manifest.scores | dict(scores)), card)
        switch = Switch(name=manifest.name, at=at, origin=now.live, reason=reason, forced=forced, scores=dict(scores))
        with _one_line(manifest.name):
            _write_standing(models, Standing(live=switch.name, history=(*now.history, switch)))
    return switch


def rollback(models: Path, *, at: datetime, reason: str = "", to: str | None = None) -> Switch:
    """Make the adapter live that was so before, or `to`, an earlier one or "" for the base alone.

    Raises:
        Refused: none is live, `to` was never live before this one, or what would come back is damaged.
    """
    with _only_one(models):
        now = standing(models)
        if not now.live:
            raise Refused("no adapter is live: there is nothing to take back")
        earlier = ("", *now.line[:-1]) if now.line and now.line[-1] == now.live else ("",)
        name = earlier[-1] if to is None else to
        if name not in earlier:
            known = ", ".join(one or "the base alone" for one in earlier)
            raise Refused(f"{name} was not live before {now.live}; there is {known}")
        if name:
            read_adapter(models / FOLDER / name)
        switch = Switch(name=name, at=at, origin=now.live, reason=reason, action="rollback")
        with _one_line(name or "the base alone"):
            _write_standing(models, Standing(live=name, history=(*now.history, switch)))
    return switch


def _put(folder: Path, models: Path, manifest: AdapterManifest, card: str) -> None:
    """The adapter, whole, in its place among the others."""
    target = models / FOLDER / manifest.name
    if target.exists():
        there = read_adapter(target)
        if there.sha256[WEIGHTS] != manifest.sha256[WEIGHTS]:
            raise Refused(f"another adapter {manifest.name} is in {FOLDER}/ already: give this one another name")
        told = replace(there, scores=manifest.scores, mood_temperature=manifest.mood_temperature)
        _describe(target, told, card)
        return
    staged = models / f"{STAGED}{manifest.name}"
    shutil.rmtree(staged, ignore_errors=True)  # what a killed promotion left behind
    staged.mkdir()
    for file in manifest.sha256:
        shutil.copyfile(folder / file, staged / file)
    _describe(staged, manifest, card)
    for path in staged.iterdir():
        _sync(path)
    _sync(staged)
    staged.rename(target)
    _sync(target.parent)


def _describe(folder: Path, manifest: AdapterManifest, card: str) -> None:
    """The model card and the manifest with its hash; a reader between the two sees the old ones whole."""
    if CARD in manifest.sha256:  # the manifest vouches for the old card: it must not change under it
        manifest = replace(manifest, sha256={file: told for file, told in manifest.sha256.items() if file != CARD})
        write_adapter(folder, manifest)
        _sync(folder / MANIFEST)
    part = folder / f".{CARD}-{os.getpid()}"
    part.write_text(card, encoding="utf-8")
    _sync(part)
    part.replace(folder / CARD)
    write_adapter(folder, replace(manifest, sha256=manifest.sha256 | {CARD: ""}))
    _sync(folder / MANIFEST)


def _write_standing(models: Path, told: Standing) -> None:
    """promoted.json, replaced in one step."""
    path = models / FOLDER / PROMOTED
    part = path.with_name(f".{PROMOTED}.new")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk keep what is in `path` by now."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """A full disk, or one that can't be written, in one line.

    Raises:
        Refused: what was live still is.
    """
    try:
        yield
    except OSError as wrong:
        raise Refused(f"{name} does not go live, nothing has changed: {wrong.strerror or wrong}") from wrong


@contextmanager
def _only_one(models: Path) -> Iterator[None]:
    """One promotion or rollback at a time; the lock dies with its process.

    Raises:
        Refused: another one is running, or the folder can't be written.
    """
    adapters = models / FOLDER
    try:
        adapters.mkdir(parents=True, exist_ok=True)
        file = (adapters / LOCK).open("ab")
    except OSError as wrong:
        raise Refused(f"{adapters}: {wrong.strerror}") from wrong
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another promotion or rollback is running") from None
        yield
