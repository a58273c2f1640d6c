"""A forecast beside what came true: the steps that the table, the JSON and the plot of `twtrader forecast` show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import Bar
from bot.ports import Company

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One future session: what was told of it, and what came where that is known. Ratios are fractions."""

    number: int
    told: ForecastBar
    band: Band | None
    came: Bar | None
    change: float  # of the close from the last known one
    error: float | None  # of the told close: told / came - 1
    inside: bool | None  # whether what came lies in the band

    @property
    def label(self) -> str:
        """The session's day where it is known, else how far ahead it is."""
        return str(self.came.session) if self.came else f"+{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A forecast with its past and what came, all in the prices of the session it was asked after.

    `went_ex` are ex-dates among what came; `context` is what else the model was told.
    """

    company: Company
    past: tuple[Bar, ...]
    forecast: Forecast
    came: tuple[Bar, ...]
    went_ex: tuple[date, ...] = ()
    context: tuple[str, ...] = ()

    @property
    def last(self) -> Bar:
        """The last known bar."""
        return self.past[-1]

    @property
    def steps(self) -> list[Step]:
        """Session by session."""
        came = (*self.came, *[None] * len(self.forecast.bars))
        bands = self.forecast.bands or (None,) * len(self.forecast.bars)
        rows = enumerate(zip(self.forecast.bars, bands, came, strict=False), start=1)
        return [self._step(number, told, band, one) for number, (told, band, one) in rows]

    def _step(self, number: int, told: ForecastBar, band: Band | None, came: Bar | None) -> Step:
        return Step(
            number=number,
            told=told,
            band=band,
            came=came,
            change=_ratio(told.close, self.last.close),
            error=_ratio(told.close, came.close) if came else None,
            inside=band.low <= came.close <= band.high if band and came else None,
        )

    @property
    def notes(self) -> list[str]:
        """What a reader has to know beside the numbers."""
        return list(self._notes())

    def _notes(self) -> Iterator[str]:
        told = self.forecast
        if told.trained_until > told.as_of:
            yield f"{told.model} was trained until {told.trained_until}: it may know what came, so this proves nothing"
        if not told.bands:
            yield "the model tells no band"
        elif len(told.bands) > 1 and along_the_median(told.model):
            yield "after the first session the band is too narrow: it was read along the median alone (docs/bands.md)"
        if self.went_ex:
            days = ", ".join(map(str, self.went_ex))
            yield f"what came is told in the prices of {told.as_of}: {self.company.symbol} went ex on {days}"


def along_the_median(model: str) -> bool:
    """Whether bands of the engine `model` were read along its median alone: its name tells no number of paths."""
    return not any(re.fullmatch(r"p\d+|n\d+|(vllm|seed)(\.n\d+)?", one) for one in model.split("+")[1:])


def p_up_words(forecast: Forecast) -> str:
    """The probability of a rise, for a reader."""
    chance = "unknown" if forecast.p_up is None else f"{forecast.p_up:.0%}"
    return f"P(up over {len(forecast.bars)}) {chance}"


def facts(answer: Answer) -> dict[str, Any]:
    """The answer for JSON: prices in TWD a share, ratios as fractions, None where something is not known."""
    told = answer.forecast
    return {
        "symbol": told.symbol,
        "name": answer.company.name,
        "as_of": told.as_of.isoformat(),
        "last_close": float(answer.last.close),
        "model": told.model,
        "trained_until": told.trained_until.isoformat(),
        "past_sessions": told.past_sessions,
        "prompt_sha256": told.prompt_sha256,
        "context": list(answer.context),
        "p_up": told.p_up,
        "tokens": told.tokens,
        "seconds": told.seconds,
        "bars": [_step_facts(step) for step in answer.steps],
        "notes": answer.notes,
    }


def _step_facts(step: Step) -> dict[str, Any]:
    band = None if step.band is None else {"low": float(step.band.low), "high": float(step.band.high)}
    came = None if step.came is None else {"session": step.came.session.isoformat(), **_prices(step.came)}
    return {
        "step": step.number,
        **_prices(step.told),
        "band": band,
        "change": step.change,
        "came": came,
        "error": step.error,
        "inside_band": step.inside,
    }


def _prices(bar: Bar | ForecastBar) -> dict[str, float]:
    return {name: float(getattr(bar, name)) for name in ("open", "high", "low", "close")}


COLUMNS = ("session", "close", "10 %", "90 %", "change", "came", "error", "in band")


def table_of(answer: Answer) -> Table:
    """The answer as a table; the columns of what came are there when something did."""
    from rich.table import Table

    told, steps = answer.forecast, answer.steps
    wide = len(COLUMNS) if answer.came else 5
    table = Table(title=f"{answer.company.symbol} {answer.company.name}: {told.past_sessions} -> {len(told.bars)}")
    for place, name in enumerate(COLUMNS[:wide]):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    for step in steps:
        table.add_row(*_cells(step)[:wide])
    told_after = f"after {told.as_of}, close {answer.last.close.normalize():f}; {p_up_words(told)}; {told.model}"
    table.caption = "\n".join([told_after, *answer.notes])
    return table


def _cells(step: Step) -> Sequence[str]:
    """A step's row; "" is not known yet, "-" was not told."""
    band = ("-", "-") if step.band is None else (_price(step.band.low), _price(step.band.high))
    came = "" if step.came is None else _price(step.came.close)
    error = "" if step.error is None else f"{step.error:+.2%}"
    inside = {None: "", True: "yes", False: "no"}[step.inside]
    return (step.label, _price(step.told.close), *band, f"{step.change:+.2%}", came, error, inside)


def _price(price: Decimal) -> str:
    return f"{price:,.2f}"


def _ratio(price: Decimal, base: Decimal) -> float:
    return float(price / base - 1)
