"""When an adapter has earned its promotion: each criterion with what it asks, what was found, and whether that passes.

Pure. An adapter must beat the base and the naive answer in everything it was trained on, and be no worse in the rest.
What was not measured does not pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from backtest.diebold_mariano import Comparison
from backtest.forecast_quality import LAST_CLOSE
from training.evaluation import ADAPTER, BASE, HARD, Differing, Evaluation, MoodResult, PriceResult
from training.mood_scores import Paired

SIGNIFICANT: Final = 0.05
LEAST_DAYS: Final = 20  # unseen sessions; with fewer the Diebold-Mariano test says nothing
LEAST_TEXTS: Final = 200  # unseen labelled texts, over all sets but the hard cases
LEAST_STEADY: Final = 200  # answers asked twice: with fewer, "under 0.5 %" can't be shown
MOST_DIFFERING: Final = 0.005
WORSE_LOSS: Final = 0.01  # of the base's loss: so much more still counts as no worse
WORSE_SHARE: Final = 0.01  # of the texts: so many fewer right still counts as no worse
UNKNOWN: Final = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One condition of a promotion, in words with its numbers."""

    name: str
    asks: str
    found: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All criteria of one adapter."""

    adapter: str
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the adapter may go live by itself."""
        return all(one.passed for one in self.criteria)

    @property
    def refusal(self) -> str:
        """Why not, in one line; empty where it may."""
        failed = [f"{one.name}: {one.found}" for one in self.criteria if not one.passed]
        if not failed:
            return ""
        return (
            f"{self.adapter} is not promoted, {len(failed)} of {len(self.criteria)} criteria fail: {'; '.join(failed)}"
        )


def judge(told: Evaluation, *, past: int, future: int) -> Verdict:
    """The verdict on an evaluated adapter that the daemon would ask for `future` sessions after `past`."""
    criteria = (
        _learned(told),
        *_prices(told, past, future),
        *_moods(told),
        *_hard(told),
        *_steady(told),
        *_parse(told),
    )
    return Verdict(adapter=told.adapter, criteria=criteria)


def _learned(told: Evaluation) -> Criterion:
    taught = [name for name, was in (("prices", told.learned_prices), ("headlines", told.learned_moods)) if was]
    return Criterion(
        name="trained on something that is judged",
        asks="prices (its manifest has windows) or headlines (its mood is tuned)",
        found=" and ".join(taught) or "neither: there is nothing to be better at",
        passed=bool(taught),
    )


# --- prices --------------------------------------------------------------------------------------------------------


def _prices(told: Evaluation, past: int, future: int) -> Iterator[Criterion]:
    prices = told.prices
    yield Criterion(
        name="unseen days",
        asks=f"at least {LEAST_DAYS} sessions after {told.unseen_after}, asked {past}:{future} as the daemon asks",
        found=f"{prices.days} from {prices.first} to {prices.last}, {prices.past}:{prices.future}"
        if prices
        else UNKNOWN,
        passed=bool(
            prices
            and prices.days >= LEAST_DAYS
            and prices.first > told.unseen_after
            and (prices.past, prices.future) == (past, future)
        ),
    )
    if told.learned_prices:
        yield _beats(prices, BASE, "forecasts beat the base")
        yield _beats(prices, LAST_CLOSE, "forecasts beat the last close")
    else:
        yield _no_worse(prices)


def _beats(prices: PriceResult | None, other: str, name: str) -> Criterion:
    against = prices.against.get(other) if prices else None
    return Criterion(
        name=name,
        asks=f"smaller pinball loss, Diebold-Mariano p < {SIGNIFICANT}",
        found=_losses(prices, other, against),
        passed=against is not None and against.p is not None and against.difference < 0 and against.p < SIGNIFICANT,
    )


def _no_worse(prices: PriceResult | None) -> Criterion:
    """For an adapter that was not taught prices: neither clearly nor probably worse."""
    against = prices.against.get(BASE) if prices else None
    near = surely_worse = False
    if prices and against:
        near = against.difference <= WORSE_LOSS * prices.losses[BASE]
        surely_worse = against.difference > 0 and against.p is not None and against.p < SIGNIFICANT
    return Criterion(
        name="forecasts no worse than the base's",
        asks=f"pinball loss at most {WORSE_LOSS:.0%} above the base's, and not above it with p < {SIGNIFICANT}",
        found=_losses(prices, BASE, against),
        passed=near and not surely_worse,
    )


def _losses(prices: PriceResult | None, other: str, against: Comparison | None) -> str:
    if prices is None or against is None:
        return UNKNOWN
    ours, theirs = prices.losses[ADAPTER], prices.losses[other]
    p = "unknown (too few days, or no difference)" if against.p is None else f"{against.p:.4f}"
    return f"{ours:.4%} beside {theirs:.4%}, p {p}"


# --- headlines -----------------------------------------------------------------------------------------------------


def _moods(told: Evaluation) -> Iterator[Criterion]:
    sets = [one for one in told.moods if one.corpus != HARD]
    count = sum(one.base.accuracy.count for one in sets)
    names = ", ".join(f"{one.corpus} {one.base.accuracy.count}" for one in sets)
    yield Criterion(
        name="unseen headlines",
        asks=f"at least {LEAST_TEXTS} labelled texts beside the hard cases",
        found=names or UNKNOWN,
        passed=count >= LEAST_TEXTS,
    )
    if told.learned_moods:
        yield _reads_better("headlines read better than by the base", sets, [one.against_base for one in sets])
        usual = [one.against_commonest for one in sets]
        yield _reads_better("headlines read better than by the commonest label", sets, usual)
    else:
        yield _reads_no_worse(sets)


def _reads_better(name: str, sets: Sequence[MoodResult], told: Sequence[Paired]) -> Criterion:
    both = _pooled(told)
    return Criterion(
        name=name,
        asks=f"more right over all sets, McNemar p < {SIGNIFICANT}",
        found=_ahead(sets, both),
        passed=bool(sets) and both.first_ahead > 0 and both.p < SIGNIFICANT,
    )


def _reads_no_worse(sets: Sequence[MoodResult]) -> Criterion:
    """For an adapter that was not taught headlines."""
    both = _pooled([one.against_base for one in sets])
    count = sum(one.base.accuracy.count for one in sets)
    near = both.first_ahead >= -WORSE_SHARE * count
    surely_worse = both.first_ahead < 0 and both.p < SIGNIFICANT
    return Criterion(
        name="headlines read no worse than by the base",
        asks=f"at most {WORSE_SHARE:.0%} of the texts fewer right, and not fewer with p < {SIGNIFICANT}",
        found=_ahead(sets, both),
        passed=bool(sets) and near and not surely_worse,
    )


def _pooled(told: Sequence[Paired]) -> Paired:
    """McNemar over several sets at once."""
    from scipy.stats import binomtest

    first, second = sum(one.only_first for one in told), sum(one.only_second for one in told)
    p = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return Paired(only_first=first, only_second=second, p=p)


def _ahead(sets: Sequence[MoodResult], both: Paired) -> str:
    if not sets:
        return UNKNOWN
    right, count = (sum(getattr(one.adapter.accuracy, what) for one in sets) for what in ("right", "count"))
    return f"{right} of {count} right; it alone {both.only_first}, the other alone {both.only_second}, p {both.p:.4f}"


def _hard(told: Evaluation) -> Iterator[Criterion]:
    hard = told.mood(HARD)
    yield Criterion(
        name="hard cases",
        asks="at least as many right as the base",
        found=f"{hard.adapter.accuracy.right} beside {hard.base.accuracy.right} of {hard.base.accuracy.count}"
        if hard
        else UNKNOWN,
        passed=bool(hard and hard.adapter.accuracy.right >= hard.base.accuracy.right),
    )


# --- answers that hold ---------------------------------------------------------------------------------------------


def _steady(told: Evaluation) -> Iterator[Criterion]:
    steady = told.steadiness
    for name, found in (
        ("merged and unmerged answers agree", steady.merged if steady else None),
        ("answers alone and in a batch agree", steady.alone if steady else None),
    ):
        yield Criterion(
            name=name,
            asks=f"under {MOST_DIFFERING:.1%} of at least {LEAST_STEADY} answers differ",
            found=f"{found.differ} of {found.count}" if found else UNKNOWN,
            passed=_agrees(found),
        )


def _agrees(found: Differing | None) -> bool:
    return bool(found and found.count >= LEAST_STEADY and found.differ < MOST_DIFFERING * found.count)


def _parse(told: Evaluation) -> Iterator[Criterion]:
    prices = told.prices
    yield Criterion(
        name="every answer parses",
        asks="all forecasts whole and inside the daily limits",
        found=f"{prices.questions - prices.unanswered[ADAPTER]} of {prices.questions}" if prices else UNKNOWN,
        passed=bool(prices and prices.unanswered[ADAPTER] == 0),
    )
