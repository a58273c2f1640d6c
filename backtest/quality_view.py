"""The quality table on a screen: what the model's forecasts are worth beside what needs no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from backtest.day_bootstrap import Share
from backtest.forecast_quality import NOMINAL, Horizon, Quality, Scores, p_words
from bot.forecast_view import along_the_median

if TYPE_CHECKING:
    from rich.table import Table

    from backtest.quality_run import Judged

HOW: Final = (
    "in brackets: 95 % intervals; whole days are drawn again, in blocks, for the stocks of a day move together",
    "p: Diebold-Mariano against the last close, by day, two-sided, raised by Holm; no claim from 0.05 up",
    f"a band from 10 % to 90 % should hold {NOMINAL:.0%}; the naive bands come from the last 60 sessions' volatility",
)


def lines_of(judged: Judged) -> Iterator[Table | str]:
    """What is printed about one model, in order."""
    yield (
        f"{judged.model}, {judged.past} past sessions, {judged.answers:,} answers as of {judged.since}..{judged.until}"
        + (f", {judged.abstained:,} abstained" if judged.abstained else "")
    )
    yield from _tables(judged.clean, "after everything the model can know")
    if judged.seen.horizons:
        yield from _tables(judged.seen, f"the model may know these days (trained until {judged.trained_until})")
    yield from HOW
    if along_the_median(judged.model) and any(part.horizon > 1 for part in judged.clean.horizons):
        yield "bands read along the median alone are too narrow after the first session: model.paths, docs/bands.md"
    if judged.clean.left_out + judged.seen.left_out:
        yield f"{judged.clean.left_out + judged.seen.left_out:,} cases without a baseline (too young a stock) left out"
    yield judged.verdict


def _tables(told: Quality, title: str) -> Iterator[Table]:
    for part in told.horizons:
        yield _table(part, title)


def _table(part: Horizon, title: str) -> Table:
    """One horizon."""
    from rich.table import Table

    sessions = f"{part.horizon} session{'s' if part.horizon > 1 else ''}"
    table = Table(title=f"{sessions}: {part.cases:,} cases of {part.days:,} days, {title}", title_justify="left")
    for place, name in enumerate(("", "MAPE", "p", "way right", "pinball", "in band", "width", "Brier")):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place == 0)
    for row in part.rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Scores) -> tuple[str, ...]:
    """A forecaster's line; "-" is what it does not tell."""
    mean = row.pinball_mean
    return (
        row.forecaster.partition("@")[0],
        f"{row.mape:.2%}",
        "-" if row.p_holm is None else p_words(row.p_holm),
        _share(row.direction),
        "-" if mean is None else f"{mean:.3%}",
        _share(row.coverage),
        "-" if row.width is None else f"{row.width:.1%}",
        "-" if row.brier is None else f"{row.brier:.3f}",
    )


def _share(share: Share | None) -> str:
    if share is None:
        return "-"
    band = "" if share.low is None or share.high is None else f" ({100 * share.low:.0f}-{100 * share.high:.0f})"
    return f"{share.value:.1%}{band}"
