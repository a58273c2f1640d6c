"""`twtrader reconcile`: the broker's book now beside the journal, the cash identity, and adopting a difference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import Refused

if TYPE_CHECKING:
    from bot.reconcile import Comparison


def reconcile(
    context: typer.Context,
    adopt: Annotated[str, typer.Option(metavar="SYMBOL", help="Take this stock's difference, or `cash`, in.")] = "",
    price: Annotated[str, typer.Option(help="With --adopt SYMBOL: TWD per share paid or got; 0: no cash moved.")] = "",
    amount: Annotated[int | None, typer.Option(help="With --adopt cash: whole TWD that came (or went, < 0).")] = None,
    reason: Annotated[str, typer.Option(help="With --adopt: how you know; it is kept in the books.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Compare the broker's book with ours, now. Never sends an order; writes only with --adopt."""
    from contextlib import closing

    from bot.adapters.clocks import clock_at
    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_open import open_database
    from bot.config_file import load_config
    from bot.reconcile import compare, facts
    from bot.wiring import Closes, broker_of

    _check_words(adopt, price, amount, reason)
    config = load_config(context.obj)
    with closing(open_database(config.store.path, create=False)) as db:
        journal, broker = Journal(db), broker_of(config, db)
        if journal.account() is None:
            raise Refused("no account yet; `twtrader run` opens it")
        try:
            seen = compare(journal, broker)
            if adopt:
                done = _adopt(journal, seen, adopt, price, amount, reason, config, clock_at(config.clock.url).now())
                if not as_json:
                    typer.echo(done)
                seen = compare(journal, broker)
        finally:
            if isinstance(broker, Closes):
                broker.close()
    if as_json:
        typer.echo(json.dumps(facts(seen), ensure_ascii=False, indent=2))
        return
    _print(seen)


def _check_words(adopt: str, price: str, amount: int | None, reason: str) -> None:
    """Refuse what makes no sense together, before anything is read.

    Raises:
        Refused: says what is missing or too much.
    """
    if not adopt:
        if price or amount is not None or reason:
            raise Refused("--price, --amount and --reason belong to --adopt")
        return
    if not reason.strip():
        raise Refused("say why with --reason: it is kept in the books")
    if adopt == "cash" and price:
        raise Refused("cash has no --price: say --amount")
    if adopt != "cash" and (not price or amount is not None):
        raise Refused(f"say what a share of {adopt} cost or brought with --price; 0 if no cash moved")


def _adopt(
    journal: Any, seen: Comparison, adopt: str, price: str, amount: int | None, reason: str, config: Any, now: Any
) -> str:
    """Take one difference in; what was done, in words."""
    from bot.core.market import shares_told
    from bot.dividends import correct_dividends
    from bot.orders_cli import price_of
    from bot.reconcile import adopt_cash, adopt_shares

    if adopt == "cash":
        return f"adopted NT${adopt_cash(journal, seen.identity, amount, reason, now).amount_twd:+,}"
    price_x100 = price_of(price)
    if price_x100 < 0:
        raise Refused(f"{price} is no price")
    one = adopt_shares(journal, seen.line(adopt), adopt, price_x100, reason, config.costs, now)
    correct_dividends(journal, config.broker, now)
    return f"adopted {shares_told(one.shares)} {adopt} at {price}: NT${one.cash_change_twd:+,} in cash"


def _print(seen: Comparison) -> None:
    """Tables for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stock", "book", "ours", "difference", "since", "what to do"):
        table.add_column(name, justify="right" if name in {"book", "ours", "difference"} else "left",
                         overflow="fold" if name == "what to do" else "ellipsis")  # fmt: skip
    for one in seen.lines:
        table.add_row(
            one.symbol, f"{one.book_shares:,}", f"{one.our_shares:,}", f"{one.difference:+,}" if one.difference else "",
            str(one.since or ""), one.advice, style="yellow" if one.difference else "",
        )  # fmt: skip
    if seen.lines:
        console.print(table)
    else:
        console.print("no shares in the broker's book, none in ours")
    told = seen.identity
    parts = [
        f"{told.start_twd:,} start + {told.sells_twd:,} sells - {told.buys_twd:,} buys",
        f"- {told.fees_twd:,} fees - {told.taxes_twd:,} taxes + {told.dividends_twd:,} dividends",
        f"+ {told.adjustments_twd:,} adjustments = NT${told.expected_twd:,}",
    ]
    console.print(f"\ncash: {' '.join(parts)}", highlight=False, soft_wrap=True)
    theirs = "it tells none" if told.broker_twd is None else f"NT${told.broker_twd:,}"
    console.print(f"our books: NT${told.cash_twd:,}; the broker: {theirs}", highlight=False, soft_wrap=True)
    for problem in seen.problems:
        console.print(f"{problem.kind}: {problem.what}", style="yellow", highlight=False, soft_wrap=True)
    if not seen.problems and not any(one.difference for one in seen.lines):
        console.print("all agrees")
