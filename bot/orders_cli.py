"""`twtrader orders list|show|resolve`: all orders, one order's story, a person's word on what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import Refused

if TYPE_CHECKING:
    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_orders import JournalOrder
    from bot.core.settle import Fate

orders_app = typer.Typer(help="Every order with its state; one order's story; resolve what is unknown.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
KeyArgument = Annotated[str, typer.Argument(help="The order's key, as `twtrader orders` tells it.")]


@orders_app.callback(invoke_without_command=True)
def orders(context: typer.Context, as_json: JsonOption = False) -> None:
    """Every order with its state, newest last; `list` is the same."""
    if context.invoked_subcommand is None:
        list_orders(context, as_json=as_json)


@orders_app.command("list")
def list_orders(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="Only orders in this state, like unknown.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Every order with its state, newest last."""
    from bot.core.orders import OrderState

    if state and state not in set(OrderState):
        raise Refused(f"{state!r} is no state: one of {', '.join(OrderState)}")
    journal = _journal(context)
    rows = [_facts(one) for one in journal.orders.select(*([OrderState(state)] if state else []))]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    columns = ("key", "shares", "filled", "limit", "state", "note")  # the key has the day, the stock and the side
    _print_table(columns, rows, "no orders yet" if not state else f"no order is {state}")


@orders_app.command()
def show(context: typer.Context, key: KeyArgument, as_json: JsonOption = False) -> None:
    """All that is known of one order: what was learned, when, by whom, and what traded."""
    journal = _journal(context)
    found = _find(journal, key)
    events = [
        {"at": event.at.isoformat(), "state": str(event.state), "by": event.by, "note": event.note,
         "reply": event.reply}
        for event in journal.orders.events(key)
    ]  # fmt: skip
    fills = [
        {"n": fill.n, "session": fill.session.isoformat(), "shares": fill.shares, "price": _price(fill.price_x100),
         "commission_twd": fill.commission_twd, "tax_twd": fill.tax_twd, "cash_twd": fill.cash_change_twd}
        for fill in journal.orders.fills(key)
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(_facts(found) | {"events": events, "fills": fills}, ensure_ascii=False, indent=2))
        return
    one = found.order
    typer.echo(f"{key}: {one.side} {one.shares:,} {one.symbol} at {_price(one.limit_x100)}: {found.state}")
    _print_table(("at", "state", "by", "note", "reply"), events, "no events")
    _print_table(("n", "session", "shares", "price", "commission_twd", "tax_twd", "cash_twd"), fills, "nothing traded")


@orders_app.command()
def resolve(
    context: typer.Context,
    key: KeyArgument,
    shares: Annotated[int | None, typer.Argument(help="With --filled: so many traded; default: all.")] = None,
    filled: Annotated[bool | None, typer.Option("--filled/--not-filled", help="Whether it traded.")] = None,
    price: Annotated[str, typer.Option(help="With --filled: TWD per share; default: the order's limit.")] = "",
    reason: Annotated[str, typer.Option(help="How you know; it is kept with the order.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what became of an order that is in doubt, or that was thought dead and had filled. Nothing is ever sent."""
    from bot.adapters.clocks import clock_at
    from bot.config_file import load_config
    from bot.dividends import correct_dividends

    if filled is None:
        raise Refused("say --filled or --not-filled")
    if not filled and (shares is not None or price):
        raise Refused("--not-filled takes neither shares nor a price")
    config = load_config(context.obj)
    journal = _journal(context, writes=True)
    fate = _fate(journal, key, config, filled=filled, shares=shares, price=price, reason=reason)
    now = clock_at(config.clock.url).now()
    try:
        journal.resolve(fate, now)
        correct_dividends(journal, config.broker, now)
    except ValueError as impossible:  # it would sell more than is held, or the daemon was faster
        raise Refused(f"{key}: {impossible}") from impossible
    done = _find(journal, key)
    if as_json:
        typer.echo(json.dumps(_facts(done), ensure_ascii=False, indent=2))
        return
    typer.echo(f"{key}: {done.state}, {done.filled_shares:,} of {done.order.shares:,} shares filled")


def _fate(
    journal: Journal, key: str, config: Any, *, filled: bool, shares: int | None, price: str, reason: str
) -> Fate:
    """What the person's words mean.

    Raises:
        Refused: they make no sense for this order.
    """
    from bot.adapters.sqlite_market import MarketStore
    from bot.core.explain import Resting
    from bot.core.resolve import filled as was_filled
    from bot.core.resolve import not_filled

    found, standing = _find(journal, key), journal.orders.standing(key)
    traded = MarketStore(journal.db).session_after(found.order.decided)
    one = Resting(order=found.order, state=found.state, session=traded or found.order.decided, fills=standing.fills)
    if not filled:
        return not_filled(one, traded, reason)
    price_x100 = price_of(price) if price else None
    return was_filled(one, traded, reason, config.costs, left=standing.left, shares=shares, price_x100=price_x100)


def price_of(text: str) -> int:
    """The price in `text`, TWD per share, in hundredths.

    Raises:
        Refused: it is none.
    """
    from decimal import Decimal, InvalidOperation

    from bot.core.market import to_x100

    try:
        return to_x100(Decimal(text))
    except (InvalidOperation, ValueError) as wrong:
        raise Refused(f"{text!r} is no price in TWD per share, like 101.5") from wrong


def _journal(context: typer.Context, *, writes: bool = False) -> Journal:
    """The journal; a view opens it read-only and never migrates it."""
    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_open import open_database
    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config

    path = load_config(context.obj).store.path
    return Journal(open_database(path, create=False) if writes else open_for_reading(path))


def _find(journal: Journal, key: str) -> JournalOrder:
    """The order `key`.

    Raises:
        Refused: there is none; names those that look alike.
    """
    from difflib import get_close_matches

    found = journal.orders.find(key)
    if found is None:
        alike = get_close_matches(key, [one.order.key for one in journal.orders.select()], n=3, cutoff=0.5)
        raise Refused(f"no order {key}" + (f"; did you mean {' or '.join(alike)}?" if alike else ""))
    return found


def _facts(one: JournalOrder) -> dict[str, Any]:
    """One order for a table and for JSON."""
    return {
        "decided": one.order.decided.isoformat(),
        "symbol": one.order.symbol,
        "side": str(one.order.side),
        "shares": one.order.shares,
        "filled": one.filled_shares,
        "limit": _price(one.order.limit_x100),
        "state": str(one.state),
        "reason": one.order.reason,
        "note": one.note,
        "strategy": one.order.strategy,
        "leg": one.order.leg,
        "key": one.order.key,
    }


def _price(price_x100: int) -> str:
    from bot.core.market import from_x100

    return str(from_x100(price_x100))


def _print_table(columns: tuple[str, ...], rows: list[dict[str, Any]], empty: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = {name for name in columns if isinstance(rows[0][name], int)}
    told = [{name: f"{row[name]:,}" if name in numbers else str(row[name]) for name in columns} for row in rows]
    for name in columns:
        words = name in {"note", "reply"}  # only they give way: a key is there to be copied, a moment to be read
        table.add_column(
            name.removesuffix("_twd"),
            justify="right" if name in numbers else "left",
            no_wrap=not words or "key" in columns,
            min_width=None if words else max(len(name.removesuffix("_twd")), *(len(row[name]) for row in told)),
        )
    for row, cells in zip(rows, told, strict=True):
        table.add_row(*cells.values(), style="bold yellow" if row.get("state") == "unknown" else "")
    Console().print(table)
