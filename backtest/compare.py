"""Stored runs listed, and two of them side by side: what differs in the inputs, and what in the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from backtest.knowledge import clean_part
from backtest.report import percent
from backtest.score import Score
from backtest.stored_run import StoredRun, headlines, read_facts, run_folders
from bot.errors import Refused

FIGURES: Final = (
    "final_twd", "total_return", "annual_return", "sharpe", "max_drawdown", "trades", "orders", "fills",
    "commission_twd", "tax_twd", "turnover",
)  # fmt: skip
ABSENT: Final = "(absent)"


def listed(reports: Path) -> list[dict[str, Any]]:
    """The stored runs by name; one that can't be read says why."""
    found: list[dict[str, Any]] = []
    for folder in run_folders(reports):
        try:
            facts = read_facts(folder)
        except Refused as wrong:
            found.append({"run_id": folder.name, "unreadable": str(wrong)})
            continue
        scores = [Score(**told) for told in facts["scores"]]
        found.append(
            {
                "run_id": folder.name,
                "from": facts["from"],
                "to": facts["to"],
                "sessions": facts["sessions"],
                "code": facts["inputs"]["code"],
                "worst": {one.forecaster: _kept(one, facts) for one in headlines(scores)},
                "hold": scores[-1].total_return,
            }
        )
    return found


def _kept(one: Score, facts: Mapping[str, Any]) -> float | None:
    """A forecaster's return that counts: of a model that may know some of the sessions, of the others alone."""
    known = next((told for told in facts.get("knowledge", ()) if told["forecaster"] == one.forecaster), None)
    if known is None:
        return one.total_return
    clean = clean_part(known)
    return min(told["total_return"] for told in clean["scores"]) if clean else None


def compared(one: StoredRun, other: StoredRun) -> dict[str, Any]:
    """What differs. Figures are told for runs that both have; `only` names those that one has alone."""
    scores = [{(score.forecaster, score.fill_rule): score for score in run.scores} for run in (one, other)]
    both = [key for key in scores[0] if key in scores[1]]
    return {
        "runs": [one.run_id, other.run_id],
        "inputs": list(_differences("", one.facts["inputs"], other.facts["inputs"])),
        "figures": [
            {"forecaster": key[0], "fill_rule": key[1], "figure": name, "a": before, "b": after}
            for key in both
            for name, before, after in _figures(asdict(scores[0][key]), asdict(scores[1][key]))
        ],
        "only": [[f"{name} {rule}" for name, rule in mine if (name, rule) not in theirs]
                 for mine, theirs in (scores, scores[::-1])],
    }  # fmt: skip


def _differences(prefix: str, one: Any, other: Any) -> Iterator[dict[str, Any]]:
    """Each key, with its path, whose value differs."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from _differences(f"{prefix}.{key}" if prefix else key, one.get(key, ABSENT), other.get(key, ABSENT))
    elif one != other:
        yield {"key": prefix, "a": one, "b": other}


def _figures(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in FIGURES:
        if one[name] != other[name]:
            yield name, one[name], other[name]


# --- on screen --------------------------------------------------------------------------------------------


def print_runs(found: Sequence[Mapping[str, Any]]) -> None:
    """A line or two a run, on stdout."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    if not found:
        console.print("no run is stored yet: `twtrader backtest run` makes one")
    for one in found:
        console.print(one["run_id"], style="bold", markup=False, highlight=False)
        if "unreadable" in one:
            console.print(f"  {one['unreadable']}", markup=False, highlight=False)
            continue
        worst = ", ".join(f"{name} {percent(told)}" for name, told in one["worst"].items())
        line = f"  {one['from']}..{one['to']}, {one['sessions']} sessions: {worst}; hold {percent(one['hold'])}"
        console.print(line, markup=False, highlight=False)


def print_comparison(told: Mapping[str, Any]) -> None:
    """Inputs first, then figures, on stdout."""
    from rich.console import Console

    console = Console(soft_wrap=True, markup=False, highlight=False)
    for name, run_id in zip("AB", told["runs"], strict=True):
        console.print(f"{name}  {run_id}", style="bold")
    console.print("inputs: " + ("" if told["inputs"] else "the same"))
    for row in told["inputs"]:
        console.print(f"  {row['key']}: {_short(row['a'])} -> {_short(row['b'])}")
    console.print("figures: " + ("" if told["figures"] else "the same"))
    before: tuple[str, str] | None = None
    for row in told["figures"]:
        label = row["forecaster"], row["fill_rule"]
        if label != before:
            console.print(f"  {' '.join(label)}")
            before = label
        console.print(f"    {row['figure']}: {_shown(row['figure'], row['a'])} -> {_shown(row['figure'], row['b'])}")
    for name, only in zip("AB", told["only"], strict=True):
        if only:
            console.print(f"only in {name}: {', '.join(only)}")


def _short(value: Any) -> str:
    """A value on one line; a hash by its beginning."""
    text = str(value)
    return text[:12] if len(text) == 64 else text  # noqa: PLR2004  (a SHA-256)


def _shown(name: str, value: Any) -> str:
    """A figure as the table shows it."""
    if value is None:
        return "-"
    if name in {"total_return", "annual_return", "max_drawdown"}:
        return f"{value:+.2%}"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
