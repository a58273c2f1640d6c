"""An adapter's README.md: what it is, what it was made from, what it scored, and what it is not for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from backtest.forecast_quality import LAST_CLOSE
from bot.adapters.adapter_store import PEFT_CONFIG, AdapterManifest
from training.criteria import Verdict
from training.evaluation import ADAPTER, BASE, Evaluation, MoodResult, PriceResult

KNOBS: Final = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "bias")


def model_card(folder: Path, manifest: AdapterManifest, told: Evaluation | None, verdict: Verdict | None) -> str:
    """The card of the adapter in `folder`, as Markdown with the front matter that model hubs read."""
    lora = json.loads((folder / PEFT_CONFIG).read_bytes())
    return "\n".join([*_head(manifest), *_made(manifest, lora), *_scores(told), *_verdict(verdict), *_use(manifest)])


def with_reason(card: str, reason: str) -> str:
    """The card of an adapter that a person put live although criteria failed."""
    quoted = " ".join(reason.split())
    return f"{card}\n## Forced\n\nIt was promoted although criteria failed. The reason given: {quoted}\n"


def _head(manifest: AdapterManifest) -> Iterator[str]:
    yield from ("---", f"base_model: {manifest.base}", "library_name: peft", f"license: {manifest.licence}", "---", "")
    yield f"# {manifest.name}"
    yield ""
    yield f"A LoRA for {manifest.base} that reads daily bars of Taiwan stocks and headlines, made and used by twtrader."
    yield ""


def _made(manifest: AdapterManifest, lora: Mapping[str, Any]) -> Iterator[str]:
    windows = ", ".join(f"{past}:{future}" for past, future in manifest.windows) or "none"
    knobs = ", ".join(f"{name} {_knob(lora[name])}" for name in KNOBS if lora.get(name) not in (None, False))
    told = {
        "Base weights": f"sha256 {manifest.base_sha256}",
        "Training data": f"ends by {manifest.trained_until}: no answer that it learned from reaches past that day",
        "Price windows (past:future sessions)": f"{windows}; columns {', '.join(manifest.columns)}",
        "Headlines": _headlines(manifest),
        "LoRA": knobs,
        "Made": f"{manifest.made:%Y-%m-%d %H:%M %Z}, git {manifest.git or 'unknown'}",
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items())),
        "Licence": manifest.licence,
    }
    yield from ("## What it is made from", "")
    yield from (f"- {name}: {text}" for name, text in told.items())
    yield from (f"- {file}: sha256 {digest}" for file, digest in sorted(manifest.sha256.items()))
    if manifest.scores:
        yield from (
            "",
            "Scores of its training run: " + ", ".join(_score(*one) for one in sorted(manifest.scores.items())),
        )
    yield ""


def _headlines(manifest: AdapterManifest) -> str:
    asked = "asked as it was tuned" if manifest.mood == "tuned" else "not trained on; asked with examples"
    warm = manifest.mood_temperature
    return asked if warm == 1.0 else f"{asked}; log scores divided by {warm:g}, fitted on validation headlines"


def _knob(value: object) -> str:
    return " ".join(sorted(value)) if isinstance(value, list) else str(value)


def _score(name: str, value: float) -> str:
    return f"{name} {value:.4g}"


def _scores(told: Evaluation | None) -> Iterator[str]:
    yield from ("## Scores", "")
    if told is None:
        yield from ("Not evaluated.", "")
        return
    yield f"Evaluated {told.made:%Y-%m-%d} beside {told.base_model} on what neither knows, after {told.unseen_after}."
    yield ""
    if told.moods:
        yield from _mood_table(told.moods)
    if told.prices:
        yield from _price_table(told.prices)
    if told.steadiness:
        merged, alone = told.steadiness.merged, told.steadiness.alone
        yield f"Merged and unmerged answers differ in {merged.differ} of {merged.count}, alone and batched in"
        yield f"{alone.differ} of {alone.count}."
        yield ""


def _mood_table(moods: tuple[MoodResult, ...]) -> Iterator[str]:
    yield "| headlines | texts | base accuracy | adapter accuracy (95 %) | weighted F1 | ECE | McNemar p |"
    yield "|---|---|---|---|---|---|---|"
    for one in moods:
        told = one.adapter
        yield (
            f"| {one.corpus} | {told.accuracy.count} | {one.base.accuracy.value:.1%} | {told.accuracy.value:.1%} "
            f"({told.accuracy.low:.1%}-{told.accuracy.high:.1%}) | {told.weighted_f1:.3f} | "
            f"{told.calibration_error:.3f} | {one.against_base.p:.2g} |"
        )
    yield ""


def _price_table(prices: PriceResult) -> Iterator[str]:
    yield (
        f"{prices.questions} questions {prices.past}:{prices.future} of {prices.days} sessions, {prices.first} to "
        f"{prices.last}; pinball loss over 10, 50 and 90 % and all sessions, in % of the last close:"
    )
    yield from ("", "| forecaster | loss | adapter's p beside it |", "|---|---|---|")
    for name, loss in prices.losses.items():
        against = prices.against.get(name)
        p = "" if against is None else "unknown" if against.p is None else f"{against.p:.2g}"
        yield f"| {name} | {loss:.4%} | {p} |"
    yield ""
    yield from ("| sessions ahead | MAPE | base | last close |", "|---|---|---|---|")
    for part in prices.quality.horizons:
        errors = [part.of(name).mape for name in (ADAPTER, BASE, LAST_CLOSE)]
        yield f"| {part.horizon} | " + " | ".join(f"{error:.2%}" for error in errors) + " |"
    yield ""


def _verdict(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        return
    yield from ("## Criteria of its promotion", "")
    for one in verdict.criteria:
        yield f"- {'pass' if one.passed else 'FAIL'}: {one.name} ({one.asks}): {one.found}"
    yield ""


def _use(manifest: AdapterManifest) -> Iterator[str]:
    yield from ("## Use and limits", "")
    yield (
        f"For twtrader's own questions on {manifest.base}, asked by `[model] adapter`. It answers in codes that only "
        "twtrader's prompts ask for and read."
    )
    yield ""
    yield f"- It may not be scored on days up to {manifest.trained_until}: it was made from them."
    yield "- It has seen Taiwan stocks and the headlines of its training data, nothing else."
    yield (
        "- A forecast is a distribution, and a smaller loss than another forecaster's is no promise of profit: costs, "
        "fills and luck are the backtester's matter."
    )
    yield "- A headline's mood is about the share price, not the truth of the news."
    yield ""
