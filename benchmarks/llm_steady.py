"""Is an answer the same alone and in a batch, and with its adapter merged or kept beside the weights? By precision.

Questions are windows of real bars (../shared/data/prices; seeded walks where that folder is absent), headlines those of
llm_cpu.py. A forecast has flipped when
any price or band of it differs, a headline when its label does. Exits with 1 where a rate reaches 0.5 %. What the
precision itself changes is printed too, and not judged.

    python benchmarks/llm_steady.py                         # the small model on a CPU, minutes
    python benchmarks/llm_steady.py --adapter training/adapters/smollm2-135m-tw
    python benchmarks/llm_steady.py --questions 2000 --alone 400 --past 20 --future 5    # on a GPU
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the child's environment
REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

import torch  # noqa: E402
from transformers.utils import logging as hub_logging  # noqa: E402

from benchmarks.llm_cpu import headlines, question_of, random_bars  # noqa: E402
from benchmarks.real_questions import PRICES, draw  # noqa: E402
from bot.adapters.adapter_store import AdapterManifest, write_adapter  # noqa: E402
from bot.adapters.llm_loading import load_weights, pick_device  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.adapters.model_store import find_model, weights_sha256  # noqa: E402
from bot.config import Config, ModelConfig  # noqa: E402
from bot.config_file import load_config  # noqa: E402
from bot.core.forecast import Forecast, Sentiment  # noqa: E402
from bot.core.prompt import FIELDS, LANGUAGE  # noqa: E402
from bot.ports import Question  # noqa: E402

LIMIT = 0.005
SEED = 7  # of the windows
Answers = tuple[list[Forecast | None], list[Sentiment]]


def main() -> None:
    """Measure, print, and say by the exit code whether all of it is steady."""
    asked = arguments()
    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    logging.getLogger("peft").setLevel(logging.ERROR)
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    device = pick_device(asked.device)
    whole = load_config(asked.config)
    config = whole.model
    config = dataclasses.replace(
        config,
        device=device,
        name=asked.model or config.name,
        batch=asked.batch or (8 if device == "cpu" else config.batch),
    )
    alone, count = asked.alone or (8 if device == "cpu" else 200), asked.questions or (41 if device == "cpu" else 1000)
    source, questions = questions_of(whole, count, asked.past, asked.future)
    titles = (headlines() * -(-count // len(headlines())))[:count]
    window = f"{asked.past}->{asked.future}"
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}; {len(questions)} questions {window} of {source}, {count} headlines")
    rates: list[float] = []
    by_precision: dict[str, Answers] = {}
    with adapter_folder(config, asked.adapter) as adapter:
        config = dataclasses.replace(config, adapter=str(adapter))
        for precision in asked.precision or precisions(device):
            told = dataclasses.replace(config, precision=precision)
            rates += measure(told, questions, titles, alone, by_precision)
    first, *others = by_precision
    for other in others:
        compared(f"{other} beside {first}, not judged", by_precision[first], by_precision[other])
    worst = max(rates)
    print(f"worst rate {worst:.3%}: {'steady' if worst < LIMIT else 'NOT steady'} (limit {LIMIT:.1%})")
    raise SystemExit(worst >= LIMIT)


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--config", type=Path, default=REPO / "config.toml")
    told.add_argument("--model", default="", help="a name or a folder; else as the config says")
    told.add_argument("--adapter", default="", help="an adapter's folder; else a random one is made")
    told.add_argument("--device", default="auto")
    told.add_argument("--precision", nargs="+", default=[], help="float32 bf16 8bit 4bit; else all that run here")
    told.add_argument("--questions", type=int, default=0, help="and as many headlines (CPU 41, GPU 1000)")
    told.add_argument("--alone", type=int, default=0, help="how many are asked one by one too (CPU 8, GPU 200)")
    told.add_argument("--past", type=int, default=5)
    told.add_argument("--future", type=int, default=2)
    told.add_argument("--batch", type=int, default=0, help="prompts together (CPU 8, GPU as the config says)")
    return told.parse_args()


def precisions(device: str) -> list[str]:
    """All that run here."""
    more = ["8bit", "4bit"] if device == "cuda" and importlib.util.find_spec("bitsandbytes") else []
    return ["float32", "bf16", *more]


def measure(
    config: ModelConfig, questions: Sequence[Question], titles: Sequence[str], alone: int, kept: dict[str, Answers]
) -> list[float]:
    """The judged rates of one precision."""
    with running(config) as engine:
        began = time.perf_counter()
        together = (engine.forecast(questions), engine.sentiment(titles))
        print(f"{config.precision}: {engine.model}, {time.perf_counter() - began:.0f} s for all at once")
        singly = (
            [engine.forecast([one])[0] for one in questions[:alone]],
            [engine.sentiment([one])[0] for one in titles[:alone]],
        )
    kept[config.precision] = together
    rates = compared("  alone and in a batch", singly, together)
    if config.precision in {"8bit", "4bit"}:
        print("  merged: quantised weights can't be added to, the adapter stays beside them")
        return rates
    with running(dataclasses.replace(config, merge=False)) as engine:
        beside = (engine.forecast(questions), engine.sentiment(titles))
    return rates + compared("  merged and unmerged", beside, together)


@contextmanager
def running(config: ModelConfig) -> Iterator[TransformersEngine]:
    """An engine whose memory is given back."""
    engine = TransformersEngine(config)
    try:
        yield engine
    finally:
        engine.close()
        gc.collect()


def compared(title: str, ours: Answers, theirs: Answers) -> list[float]:
    """Prints how many differ, and how far; the two rates."""
    pairs = [(one, two) for one, two in zip(ours[0], theirs[0], strict=False) if one and two]
    moods = list(zip(ours[1], theirs[1], strict=False))
    flipped = sum((one.bars, one.bands) != (two.bars, two.bands) for one, two in pairs)
    labels = sum(one.label != two.label for one, two in moods)
    apart = statistics.mean(abs(float(one.target / two.target) - 1) for one, two in pairs)
    shift = max(abs(one.score - two.score) for one, two in moods)
    print(
        f"{title}: forecasts {rate(flipped, len(pairs))}, mean gap of the last close {apart:.3%}; "
        f"labels {rate(labels, len(moods))}, largest gap of a score {shift:.1e}"
    )
    return [flipped / len(pairs), labels / len(moods)]


def rate(flipped: int, count: int) -> str:
    """How many of how many, and the rate; none of few proves little, so the upper end is said with it."""
    if flipped:
        return f"{flipped} of {count} differ ({flipped / count:.2%})"
    return f"none of {count} differs (below {1 - 0.05 ** (1 / count):.2%} with 95 % confidence)"


def questions_of(config: Config, count: int, past: int, future: int) -> tuple[str, list[Question]]:
    """What the bars are, and `count` questions of one window."""
    if PRICES.is_dir():
        return "real bars", draw(config, [(past, future)] * count, random.Random(SEED))
    walks = [question_of(random_bars(f"{2300 + at}", at, past)) for at in range(count)]
    return "seeded walks", [dataclasses.replace(one, future_sessions=future) for one in walks]


@contextmanager
def adapter_folder(config: ModelConfig, told: str) -> Iterator[Path]:
    """The adapter that was named, or a random one of rank 8 in a folder that is gone afterwards."""
    if told:
        yield Path(told).expanduser().resolve()
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "random"
        make_adapter(find_model(config.name, config.folder), folder)
        yield folder


def make_adapter(base: Path, folder: Path) -> None:
    """Small random matrices of rank 8 on all seven projections of every layer."""
    from peft import LoraConfig, get_peft_model

    shape = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_weights(str(base), "cpu", "bf16"), shape)
    torch.manual_seed(3)
    for name, weights in model.named_parameters():
        if "lora_" in name:
            weights.data.normal_(0, 0.02)
    model.save_pretrained(folder)
    manifest = AdapterManifest(
        name="random", base=base.name, base_sha256=weights_sha256(base), trained_until=date(2020, 1, 1), mood="shown",
        columns=FIELDS, windows=(), licence="none", made=datetime.now(UTC), git="", versions={}, scores={}, sha256={},
        language=LANGUAGE,
    )  # fmt: skip
    write_adapter(folder, manifest)


if __name__ == "__main__":
    main()
