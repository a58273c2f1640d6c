"""How surely an adapter reads headlines, mended by one temperature; no label changes.

It is fitted on what the adapter was not trained on and is not tested on: the valid side of its dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bot.adapters.adapter_store import AdapterManifest, check_base, read_adapter, write_adapter
from bot.adapters.model_store import find_model
from bot.errors import Refused
from training.run_folder import SETTINGS

if TYPE_CHECKING:
    from bot.config import ModelConfig
    from training.dataset import Dataset
    from training.temperature import Reading, Sureness

LEAST_TEXTS: Final = 50
Scores = Callable[[Sequence[str]], list[list[float]]]
Start = Callable[["ModelConfig"], Scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One source's texts, before and after."""

    source: str
    texts: int
    before: Sureness
    after: Sureness


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What was fitted, what it changed, and what of the texts could not be told, "" if nothing."""

    adapter: str
    before: float
    temperature: float
    parts: tuple[Part, ...]
    unknown: str


def calibrate(folder: Path, dataset: Path, config: ModelConfig, start: Start) -> Calibrated:
    """Ask the adapter in `folder`, fit its temperature, and write it into its manifest.

    Raises:
        Refused: the adapter is damaged or of another base; the dataset is none, has too few headlines in valid, or is
            not what the adapter learned from; no temperature fits. Nothing is written.
    """
    from training.dataset import read_dataset
    from training.evaluate_sets import check_cut
    from training.temperature import fitted_temperature, sureness

    manifest = read_adapter(folder)
    check_base(manifest, find_model(config.name, config.folder))
    data = read_dataset(dataset)
    texts = valid_texts(data)
    check_cut(dataset, manifest)
    unknown = _check_learned(folder, manifest, data, texts)
    scores = start(replace(config, adapter=str(folder)))
    sources = {source: _read(scores, told) for source, told in texts.items()}
    temperature = fitted_temperature(sources)
    before = manifest.mood_temperature
    parts = tuple(
        Part(source=source, texts=len(told), before=sureness(told, before), after=sureness(told, temperature))
        for source, told in sources.items()
    )
    write_adapter(folder, replace(manifest, mood_temperature=temperature))
    return Calibrated(adapter=manifest.name, before=before, temperature=temperature, parts=parts, unknown=unknown)


def valid_texts(data: Dataset) -> dict[str, list[tuple[str, str]]]:
    """By source the texts of the valid side and their labels.

    Raises:
        Refused: there are fewer than LEAST_TEXTS.
    """
    from training.examples import headline_of

    found: dict[str, list[tuple[str, str]]] = {}
    for one in data.records("valid"):
        if one.kind == "mood" and one.label:
            found.setdefault(one.source, []).append((headline_of(one), one.label))
    count = sum(map(len, found.values()))
    if count < LEAST_TEXTS:
        raise Refused(f"{data.folder}: {count or 'no'} headlines in its valid side, {LEAST_TEXTS} are needed")
    return found


def _check_learned(folder: Path, manifest: AdapterManifest, data: Dataset, sources: Mapping[str, object]) -> str:
    """Refuse a dataset that the adapter did not learn from; comes back what nothing here tells of that.

    Raises:
        Refused: it learned no moods, none of one of the `sources`, or its run had another train side.
    """
    if manifest.mood != "tuned":
        raise Refused(f"adapter {manifest.name} learned no moods: there is nothing to calibrate")
    for name in sources:
        if not re.search(rf"(?<!\w){re.escape(name)}:", manifest.licence):
            raise Refused(f"adapter {manifest.name} did not learn from {name}: calibrate it on what it learned from")
    try:
        settings = json.loads((folder.parent / SETTINGS).read_bytes())
        learned, start = dict(settings["dataset"]), settings["start"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"nothing tells which texts {manifest.name} learned; where these are among them, it stays too sure"
    train = [name for name in data.manifest.sha256 if name.startswith("train.")]
    if any(learned.get(name) != data.manifest.sha256[name] for name in train):
        raise Refused(f"{data.folder}: its train side is not the one that adapter {manifest.name} learned")
    return f"nothing tells which texts {start} learned, from which {manifest.name} went on" if start else ""


def _read(scores: Scores, texts: Sequence[tuple[str, str]]) -> list[Reading]:
    from training.temperature import Reading

    told = scores([text for text, _ in texts])
    return [Reading(label=label, scores=(one[0], one[1], one[2])) for (_, label), one in zip(texts, told, strict=True)]


def mood_scores(config: ModelConfig) -> Scores:
    """The labels' log scores by the engine that the daemon's child process runs, in this process."""
    from transformers.utils import logging

    from bot.adapters.llm_transformers import TransformersEngine

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    engine = TransformersEngine(config)

    def scores(titles: Sequence[str]) -> list[list[float]]:
        told: list[list[float]] = engine.mood_scores(titles).tolist()
        return told

    return scores
