"""The sandbox's own routes, which no real server has: the clock, the books, the sessions, the faults, the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from math import inf
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bot.errors import Refused
from bot.sandbox.account import Account, Reservation, available_twd
from bot.sandbox.faults import Fault, Wire
from bot.sandbox.settings import SandboxSettings, day, moment
from bot.sandbox.world import World, world_behind, world_of

LARGEST_SKEW_S: Final = 10 * 366 * 86_400.0


def book_of(name: str, account: Account, world: World) -> dict[str, Any]:
    """Everything in one account, money in whole TWD."""
    return {
        "account": name,
        "cash_twd": account.portfolio.cash_twd,
        "available_twd": available_twd(account, world.rates),
        "dividends_twd": account.dividends_twd,
        "positions": {
            symbol: {"shares": position.shares, "cost_twd": position.cost_twd}
            for symbol, position in sorted(account.portfolio.positions.items())
        },
        "orders": [_order(order) for order in account.orders],
    }


def _order(order: Reservation) -> dict[str, Any]:
    """A reservation and what became of it."""
    fill = order.fill
    return {
        "number": order.number,
        "symbol": order.symbol,
        "side": order.side,
        "shares": order.shares,
        "limit_x100": order.limit_x100,
        "placed_at": order.placed_at.isoformat(),
        "state": order.state,
        "reply": order.reply,
        "settled": order.settled.isoformat() if order.settled else None,
        "fill": None
        if fill is None
        else {
            "session": fill.session.isoformat(),
            "shares": fill.shares,
            "price_x100": fill.price_x100,
            "commission_twd": fill.commission_twd,
            "tax_twd": fill.tax_twd,
            "cash_change_twd": fill.cash_change_twd,
        },
    }


async def _body_of(request: Request) -> dict[str, Any]:
    """The JSON object in the request.

    Raises:
        Refused: it is none.
    """
    try:
        told = json.loads(await request.body())
    except ValueError as wrong:
        raise Refused(f"the request holds no JSON: {wrong}") from wrong
    if not isinstance(told, dict):
        raise Refused("the request must be a JSON object")
    return told


def _refused(wrong: Exception, status: int = 400) -> JSONResponse:
    """Why not, in one line."""
    return JSONResponse({"error": str(wrong)}, status)


async def _read_clock(request: Request) -> JSONResponse:
    world = world_behind(request)
    return JSONResponse({"now": (world.now() + world.skew).isoformat()})


async def _move_clock(request: Request) -> JSONResponse:
    """Move the exchange's time forward (`now`), or set how many seconds a reader's clock is off (`skew_s`)."""
    world = world_behind(request)
    try:
        told = await _body_of(request)
        skew_s = _skew_s(told)
        target = moment(str(told.get("now", ""))) if skew_s is None or "now" in told else None
    except Refused as wrong:
        return _refused(wrong)
    if skew_s is not None:
        world.skew = timedelta(seconds=skew_s)
    try:
        settled = world.move_to(target) if target else []
    except Refused as backwards:
        return _refused(backwards, 409)
    now = (world.now() + world.skew).isoformat()
    return JSONResponse({"now": now, "settled": [one.isoformat() for one in settled]})


def _skew_s(told: dict[str, Any]) -> float | None:
    """The seconds in the request; None when it says none.

    Raises:
        Refused: they are no number of seconds within ten years.
    """
    if "skew_s" not in told:
        return None
    try:
        seconds = float(told["skew_s"])
    except (TypeError, ValueError):
        seconds = inf
    if not abs(seconds) <= LARGEST_SKEW_S:
        raise Refused(f"skew_s must be a number of seconds within ten years, not {told['skew_s']!r}")
    return seconds


async def _book(request: Request) -> JSONResponse:
    world = world_behind(request)
    world.now()  # settles what is due
    name = request.query_params.get("account") or next(iter(world.accounts))
    if name not in world.accounts:
        return _refused(Refused(f"no account {name!r}: one of {', '.join(world.accounts)}"), 404)
    return JSONResponse(book_of(name, world.accounts[name], world))


async def _sessions(request: Request) -> JSONResponse:
    sessions = world_behind(request).market.sessions
    try:
        first = day(request.query_params.get("from") or date.min.isoformat())
        last = day(request.query_params.get("to") or date.max.isoformat())
    except Refused as wrong:
        return _refused(wrong)
    return JSONResponse({"sessions": [session.isoformat() for session in sessions if first <= session <= last]})


async def _add_fault(request: Request) -> JSONResponse:
    try:
        told = await _body_of(request)
        fault = Fault(
            path=str(told.get("path", "")),
            kind=str(told.get("kind", "")),
            times=int(told.get("times", 1)),
            seconds=float(told.get("seconds", 30.0)),
        )
    except (Refused, TypeError, ValueError) as wrong:
        return _refused(wrong)
    _wire(request).faults.append(fault)
    return JSONResponse({"waiting": len(_wire(request).faults)})


async def _clear_faults(request: Request) -> JSONResponse:
    _wire(request).faults.clear()
    return JSONResponse({"waiting": 0})


async def _send_in(request: Request) -> JSONResponse:
    """Print a headline: `code`, `title`; `language` ("zh") and `published_at` (now) where they are told."""
    world = world_behind(request)
    try:
        told = _headline_of(await _body_of(request))
        at = moment(told["published_at"]) if "published_at" in told else world.now()
        printed = world.news.send_in(told["code"], told["title"], told.get("language", "zh"), at)
    except Refused as wrong:
        return _refused(wrong)
    return JSONResponse({"url": printed.url, "published_at": printed.published_at.isoformat()})


def _headline_of(told: dict[str, Any]) -> dict[str, str]:
    """The request's words, each known and a text.

    Raises:
        Refused: one is missing, unknown or no text.
    """
    fits = {"code", "title"} <= told.keys() <= {"code", "title", "language", "published_at"}
    if not fits or not all(isinstance(one, str) for one in told.values()):
        raise Refused("a headline takes code and title, and may take language and published_at, each a text")
    return told


async def _posts(request: Request) -> JSONResponse:
    return JSONResponse({"posts": _wire(request).posts})


async def _reset(request: Request) -> JSONResponse:
    """Another world in the same process: its market, clock, books, faults and logs begin anew."""
    try:
        world = world_of(_other_settings(world_behind(request).settings, await _body_of(request)))
    except (Refused, TypeError, ValueError) as wrong:
        return _refused(wrong)
    request.app.state.world = world
    _wire(request).forget()
    return JSONResponse({"now": world.now().isoformat()})


def _other_settings(before: SandboxSettings, told: Mapping[str, Any]) -> SandboxSettings:
    """`before` with what is told: start, seed, codes, cash_twd.

    Raises:
        Refused: something else is told, or a value can't be used.
        TypeError, ValueError: a value has the wrong type.
    """
    unknown = told.keys() - {"start", "seed", "codes", "cash_twd"}
    if unknown:
        raise Refused(f"a reset takes start, seed, codes and cash_twd, not {', '.join(sorted(unknown))}")
    return replace(
        before,
        start=moment(str(told.get("start", before.start.isoformat()))),
        seed=int(told.get("seed", before.seed)),
        codes=tuple(str(code) for code in told.get("codes", before.codes)),
        cash_twd=int(told.get("cash_twd", before.cash_twd)),
    )


async def _requests(request: Request) -> JSONResponse:
    wire = _wire(request)
    return JSONResponse({"counts": dict(wire.counts), "recent": list(wire.recent)})


def _wire(request: Request) -> Wire:
    """What passes between clients and application."""
    wire = request.app.state.wire
    assert isinstance(wire, Wire)
    return wire


CONTROL_ROUTES: Final = [
    Route("/clock", _read_clock, methods=["GET"]),
    Route("/clock", _move_clock, methods=["POST"]),
    Route("/book", _book),
    Route("/sessions", _sessions),
    Route("/faults", _add_fault, methods=["POST"]),
    Route("/faults", _clear_faults, methods=["DELETE"]),
    Route("/requests", _requests),
    Route("/headlines", _send_in, methods=["POST"]),
    Route("/posts", _posts),
    Route("/reset", _reset, methods=["POST"]),
]
