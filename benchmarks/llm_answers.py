"""Do all answers parse and keep the exchange's rules? Forecasts on real bars, by the small model and random twins.

A twin has the small model's shape and tokenizer and random weights: ordinary, wild, with logits beyond all bounds, and
with none at all. Each answer must have its bars, on the tick, inside the daily limit of the close before, a band in
order for each of them, and P(up) (bot/core/answer_check.py). The windows are drawn from ../shared/data/prices by a
seed, mostly 1->1 and 5->5.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the child's environment
REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from transformers.utils.logging import disable_progress_bar  # noqa: E402

from benchmarks.real_questions import PRICES, draw  # noqa: E402
from bot.config import Config  # noqa: E402
from bot.config_file import load_config  # noqa: E402
from bot.core.answer_check import answer_faults  # noqa: E402
from bot.ports import Question  # noqa: E402

WINDOWS = {(1, 1): 0.72, (5, 5): 0.252, (20, 5): 0.025, (60, 20): 0.003}  # past, future: share of the questions
AT_ONCE = 82  # questions handed to the engine together, so that progress shows


@dataclass(frozen=True, kw_only=True)
class Twin:
    """Random weights: their spread, and how much larger the vocabulary's head is; a spread of 0 knows nothing."""

    name: str
    seed: int
    spread: float
    head: float = 1.0


TWINS = (
    Twin(name="ordinary", seed=1, spread=0.04),
    Twin(name="wild", seed=2, spread=0.5),
    Twin(name="extreme", seed=3, spread=1.0, head=1e6),
    Twin(name="flat", seed=4, spread=0.0),
)


def main() -> int:
    """Ask, check and print; 0 when nothing was wrong."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--count", type=int, default=200, help="forecasts: half of the model, half shared by its twins")
    told.add_argument("--seed", type=int, default=7, help="of the windows")
    told.add_argument("--paths", type=int, help="that bands are read along; else as the config says")
    asked = told.parse_args()
    if not PRICES.is_dir():
        print(f"nothing checked: {PRICES} is absent")
        return 0
    config = load_config(REPO / "config.toml")
    if asked.paths is not None:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, paths=asked.paths))
    disable_progress_bar()
    dice = random.Random(asked.seed)
    windows = dice.choices([*WINDOWS], [*WINDOWS.values()], k=max(asked.count, 2 * len(TWINS)))
    questions = draw(config, windows, dice)
    began = time.perf_counter()
    good = ask(config, "the small model", questions[::2])
    for place, twin in enumerate(TWINS):
        with twin_of(config, twin) as theirs:
            good &= ask(theirs, f"twin {twin.name}", questions[1::2][place :: len(TWINS)])
    seconds = time.perf_counter() - began
    print(f"{'PASS' if good else 'FAIL'}: {len(questions)} forecasts, seed {asked.seed}, {seconds:.0f} s in all")
    return 0 if good else 1


def ask(config: Config, name: str, questions: Sequence[Question]) -> bool:
    """Ask one model everything; whether every answer was there and right."""
    from bot.adapters.llm_transformers import TransformersEngine

    engine = TransformersEngine(config.model)
    faults: list[str] = []
    bands = abstained = 0
    closes: Counter[str] = Counter()
    began = time.perf_counter()
    # Alike in length together: a short question beside long ones is padded to their length.
    ordered = sorted(questions, key=lambda one: (one.future_sessions, len(one.bars)))
    for start in range(0, len(ordered), AT_ONCE):
        batch = ordered[start : start + AT_ONCE]
        for one, answer in zip(batch, engine.forecast(batch), strict=True):
            if answer is None:
                abstained += 1
                continue
            bands += len(answer.bands) == one.future_sessions and answer.p_up is not None
            last = one.bars[-1].close
            closes["up" if answer.target > last else "down" if answer.target < last else "unchanged"] += 1
            wrong = answer_faults(answer, one.bars[-1], one.future_sessions)
            faults += [f"{one.company.symbol} {one.as_of}: {fault}" for fault in wrong[:1]]
        if sys.stderr.isatty():
            print(f"\r{name}: {min(start + AT_ONCE, len(ordered))} of {len(ordered)}", end="", file=sys.stderr)
    seconds = time.perf_counter() - began
    engine.close()
    whole = len(questions) - abstained - len(faults)
    ways = ", ".join(f"{count} {way}" for way, count in closes.most_common())
    print(
        f"{name}: {whole} of {len(questions)} answers right ({whole / len(questions):.2%}), {bands} with bands in order"
        f"; {seconds:.0f} s, {len(questions) / seconds:.1f} a second; {ways}",
        flush=True,
    )
    for fault in faults[:10]:
        print(f"  {fault}")
    return whole == bands == len(questions)


@contextmanager
def twin_of(config: Config, twin: Twin) -> Iterator[Config]:
    """A config whose model is the twin, in a folder of its own while it is asked."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from bot.adapters.model_store import find_model

    real = find_model(config.model.name, config.model.folder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"twin-{twin.name}"
        path.mkdir()
        for file in real.iterdir():
            if file.suffix == ".json" and file.name != "manifest.json" and "safetensors" not in file.name:
                shutil.copy(file, path)
        shape = AutoConfig.from_pretrained(real, local_files_only=True)
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
        torch.manual_seed(twin.seed)
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.normal_(0, twin.spread) if twin.spread else weights.zero_()
            # The head may be the embedding too; the first layer's norm takes its size out again.
            model.get_output_embeddings().weight.mul_(twin.head)
        model.to(torch.bfloat16).save_pretrained(path)
        named = dataclasses.replace(config.model, name=path.name, folder=path.parent)
        yield dataclasses.replace(config, model=named)


if __name__ == "__main__":
    sys.exit(main())
