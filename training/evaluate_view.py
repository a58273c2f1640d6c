"""An evaluation on a screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from backtest.diebold_mariano import Comparison
from backtest.forecast_quality import Horizon, Scores
from bot.core.prompt import LABELS
from training.criteria import Verdict
from training.evaluation import ADAPTER, BASE, Evaluation, MoodResult, PriceResult, Steadiness
from training.mood_scores import MoodScores, Rate

UNKNOWN = "unknown"


def show(told: Evaluation, console: Console) -> None:
    """Every table of the evaluation."""
    console.print(f"[bold]{told.adapter_model}[/] beside [bold]{told.base_model}[/], unseen after {told.unseen_after}")
    if told.moods:
        console.print(_moods(told))
    for one in told.moods:
        console.print(_labels(one))
        if one.groups:
            console.print(_groups(one))
        for name, scores in ((BASE, one.base), (ADAPTER, one.adapter)):
            console.print(_confusion(f"{one.corpus}: {name}, labels in rows, answers in columns", scores))
            console.print(_reliability(f"{one.corpus}: {name}, how sure and how often right", scores))
    if told.prices:
        for part in told.prices.quality.horizons:
            console.print(_horizon(part))
        console.print(_losses(told.prices))
    if told.steadiness:
        console.print(_steady(told.steadiness))


def show_verdict(told: Verdict, console: Console) -> None:
    """Each criterion with its number."""
    table = Table("", "criterion", "asks", "found", title=f"May {told.adapter} go live?")
    for one in told.criteria:
        table.add_row("[green]pass[/]" if one.passed else "[red]FAIL[/]", one.name, one.asks, one.found)
    console.print(table)


def _moods(told: Evaluation) -> Table:
    table = Table(
        "headlines", "reader", "accuracy (95 %)", "weighted F1", "macro F1", "ECE", "McNemar p", title="Moods"
    )
    for one in told.moods:
        usual = one.against_commonest
        for name, scores in ((BASE, one.base), (ADAPTER, one.adapter)):
            p = f"{_p(one.against_base.p)}, beside always {one.commonest} {_p(usual.p)}" if name == ADAPTER else ""
            f1 = (f"{scores.weighted_f1:.3f}", f"{scores.macro_f1:.3f}", f"{scores.calibration_error:.3f}")
            table.add_row(f"{one.corpus} ({scores.accuracy.count})", name, rate_text(scores.accuracy), *f1, p)
    return table


def _labels(one: MoodResult) -> Table:
    table = Table(
        "label",
        "texts",
        *(f"{name} {what}" for name in (BASE, ADAPTER) for what in ("found (95 %)", "precision", "F1")),
    )
    table.title = f"{one.corpus}: each label"
    for label in LABELS:
        cells: list[str] = []
        for scores in (one.base, one.adapter):
            told = scores.labels[label]
            cells += [rate_text(told.recall) if told.recall else UNKNOWN, f"{told.precision:.3f}", f"{told.f1:.3f}"]
        recall = one.base.labels[label].recall
        table.add_row(label, str(recall.count if recall else 0), *cells)
    return table


def _groups(one: MoodResult) -> Table:
    """The parts in which a set is scored too; a text is in more than one of them."""
    table = Table("part", "texts", f"{BASE} right (95 %)", f"{ADAPTER} right (95 %)", title=f"{one.corpus}: each part")
    for part in one.groups:
        table.add_row(part.group, str(part.base.count), rate_text(part.base), rate_text(part.adapter))
    return table


def _confusion(title: str, scores: MoodScores) -> Table:
    table = Table("", *LABELS, title=title)
    for label, row in zip(LABELS, scores.confusion, strict=True):
        table.add_row(label, *(str(count) for count in row))
    return table


def _reliability(title: str, scores: MoodScores) -> Table:
    table = Table("confidence", "answers", "mean confidence", "right", title=title)
    for one in scores.reliability:
        table.add_row(f"{one.low:.1f}-{one.high:.1f}", str(one.count), f"{one.confidence:.3f}", f"{one.accuracy:.3f}")
    return table


def _horizon(part: Horizon) -> Table:
    table = Table("forecaster", "MAPE", "DM p beside last close", "way right (95 %)", "pinball 10/50/90", "in the band",
                  title=f"Closes after {part.horizon} sessions: {part.cases} cases of {part.days} days")  # fmt: skip
    for row in part.rows:
        losses = "/".join(UNKNOWN if loss is None else f"{loss:.3%}" for loss in row.pinball)
        table.add_row(row.forecaster, f"{row.mape:.2%}", _against(row), _way(row), losses, _inside(row))
    return table


def _against(row: Scores) -> str:
    return "" if row.against is None else f"{_sign(row.against)} {_p(row.p_holm)} (Holm)"


def _way(row: Scores) -> str:
    told = row.direction
    if told is None:
        return "says none"
    band = "" if told.low is None or told.high is None else f" ({told.low:.1%}-{told.high:.1%})"
    return f"{told.value:.1%}{band}"


def _inside(row: Scores) -> str:
    return "no band" if row.coverage is None else f"{row.coverage.value:.1%} of 80 %"


def _losses(prices: PriceResult) -> Table:
    title = f"One loss for the whole forecast {prices.past}:{prices.future}, {prices.first} to {prices.last}"
    table = Table("forecaster", "pinball loss", "adapter beside it", "Diebold-Mariano p", "not answered", title=title)
    for name, loss in prices.losses.items():
        against = prices.against.get(name)
        missing = prices.unanswered.get(name)
        table.add_row(
            name,
            f"{loss:.4%}",
            "" if against is None else _sign(against),
            "" if against is None else _p(against.p),
            "" if missing is None else f"{missing} of {prices.questions}",
        )
    return table


def _steady(told: Steadiness) -> Table:
    table = Table("asked again", "answers", "differ", title="The same answer however it is asked?")
    for name, found in (("merged / beside the weights", told.merged), ("alone / in a batch", told.alone)):
        share = found.share
        table.add_row(name, str(found.count), UNKNOWN if share is None else f"{found.differ} ({share:.2%})")
    return table


def rate_text(told: Rate) -> str:
    """A share with its interval."""
    return f"{told.value:.1%} ({told.low:.1%}-{told.high:.1%})"


def _sign(told: Comparison) -> str:
    return "better" if told.difference < 0 else "worse" if told.difference > 0 else "equal"


def _p(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"  # noqa: PLR2004
