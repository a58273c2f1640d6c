"""`twtrader train sft`: a dataset and a base become an adapter. The whole fine-tune, top to bottom.

On one GPU or the CPU: `twtrader train sft DATASET --out RUN`. On several: `torchrun --nproc-per-node N -m bot train sft
DATASET --out RUN`. Everything that can be refused is refused before anything is computed; a killed run goes on from its
last state when the same command is given again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bot.adapters.adapter_store import (
    NAME,
    PEFT_CONFIG,
    PROMOTED_NAME,
    AdapterManifest,
    check_base,
    read_adapter,
    read_adapter_manifest,
    write_adapter,
)
from bot.adapters.llm_joined import can_fuse
from bot.adapters.llm_loading import load_tokenizer
from bot.adapters.model_store import (
    MANIFEST,
    Manifest,
    check_files,
    find_model,
    read_manifest,
    sha256_of,
    weights_sha256,
)
from bot.config import Config
from bot.core.prompt import LANGUAGE
from bot.errors import Refused
from bot.train_config import TrainConfig
from training.dataset import Dataset, read_dataset
from training.packs import Tokens
from training.progress import Progress
from training.run_folder import ADAPTER, Log, alone, draw_curves, open_run, settings_of
from training.tokens import encode_records

SMALL: Final = 1_000_000_000  # weights below which a GPU waits for Python: CUDA graphs help more than a compiler
# Three states (the third while it replaces the first) of a float32 and the optimiser's two, and the result.
STATES_BYTES: Final = 3 * 12 + 4
SPARE_BYTES: Final = 200_000_000  # for logs and curves
PACKAGES: Final = ("torch", "transformers", "peft", "trl", "unsloth", "bitsandbytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is learned from, and what it is judged by while it learns."""

    train: list[Tokens]
    valid: list[Tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run came to. `adapter` is a model folder where all weights were trained."""

    adapter: Path
    progress: Progress
    steps: int


def run_sft(config: Config, dataset: Path, out: Path, console: Console) -> Trained | None:
    """Train `config.train.model` on the dataset; None on all processes of several but the first.

    Raises:
        Refused: in one line, before any GPU time is spent: a dataset that is none, an example that is too long, a base
            that is not there or does not fit, an engine that can't run here, no room on the disk.
    """
    knobs = config.train
    check_name(out)
    data = read_dataset(dataset)
    path = find_model(knobs.model, config.model.folder)
    check_files(path)
    _quiet()
    shape, tokenizer = shape_of(path), load_tokenizer(path)
    fusable = _plain(shape)
    engine = pick_engine(knobs, cuda=torch.cuda.is_available(), fusable=fusable)
    check_knobs(knobs, engine, shape, path, fusable=fusable)
    examples = Examples(
        train=encode_records(tokenizer, data.records("train"), knobs.max_length, "train"),
        valid=encode_records(tokenizer, data.records("valid"), knobs.max_length, "valid"),
    )
    knobs = dataclasses.replace(knobs, engine=engine, speedup=_speedup(knobs, path))
    settings = settings_of(knobs, dataset=data.manifest.sha256, base=weights_sha256(path))
    with contextlib.ExitStack() as held:
        rank, world = held.enter_context(_processes())
        first = rank == 0
        if first:
            again = open_run(out, settings, needed_bytes(knobs, shape))
            held.enter_context(alone(out))
            if again:
                console.print(f"{out}: going on from its last state", soft_wrap=True)
        if world > 1:
            torch.distributed.barrier()
        log = Log(out, tensorboard=knobs.tensorboard) if first else None
        with _shown(console if first else None) as show:

            def watch(now: Progress, steps: int) -> None:
                if log is not None:
                    log.add(now)
                show(now, steps)

            if engine == "fused":
                from training.fused_engine import train

                now = train(path, examples.train, examples.valid, knobs, out, watch)
            else:
                from training.trl_engine import train_trl

                now = train_trl(path, examples.train, examples.valid, knobs, out, watch)
        if log is None:
            return None
        log.close()
        draw_curves(out)
        made = finish(out, config, data, path, now)
        return Trained(adapter=made, progress=now, steps=now.step)


# --- before anything is computed -------------------------------------------------------------------------------


def check_name(out: Path) -> None:
    """Refuse a run's folder whose name could be no adapter's."""
    if not NAME.fullmatch(out.name) or out.name == PROMOTED_NAME:
        raise Refused(
            f"--out {out}: the folder's name becomes the adapter's: letters, digits, . _ - and at most 64 of them"
        )


def shape_of(path: Path) -> Any:
    """The configuration of the model in `path`.

    Raises:
        Refused: transformers knows no such model.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as wrong:
        raise Refused(f"model {path.name}: {str(wrong).strip().splitlines()[0]}") from wrong


def pick_engine(knobs: TrainConfig, *, cuda: bool, fusable: bool) -> Any:
    """The engine that `auto` means here: ours wherever it can do the method on the base, else unsloth or trl.

    `fusable`: the base is of the kind that ours runs.

    Raises:
        Refused: the one that is asked for can't run here.
    """
    bits = knobs.method in {"qlora", "8bit"}
    engine = knobs.engine
    if engine == "auto":
        engine = "unsloth" if bits else "fused" if fusable else "trl"
    if bits and not cuda:
        raise Refused(f'train.method = "{knobs.method}" needs CUDA: bitsandbytes has no kernels for this machine')
    if bits and engine == "fused":
        raise Refused(f'train.engine = "fused" trains in bf16: for "{knobs.method}" take "unsloth" or "trl"')
    if engine == "unsloth" and not cuda:
        raise Refused('train.engine = "unsloth" runs only where there is a GPU')
    if knobs.optimiser == "adamw_8bit" and not cuda:
        raise Refused('train.optimiser = "adamw_8bit" needs CUDA')
    wanted = {"unsloth": ("unsloth", "trl", "datasets"), "trl": ("trl", "datasets", "peft")}.get(engine, ())
    if bits or knobs.optimiser == "adamw_8bit":
        wanted = (*wanted, "bitsandbytes")
    if knobs.tensorboard:
        wanted = (*wanted, "tensorboard")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        extra = "gpu" if {"unsloth", "bitsandbytes"} & set(missing) else "train"
        raise Refused(f"{', '.join(missing)} is not installed: pip install 'twtrader[{extra}]'")
    return engine


def check_knobs(knobs: TrainConfig, engine: str, shape: Any, path: Path, *, fusable: bool) -> None:
    """Refuse what would fail, or silently be otherwise, an hour from now."""
    limit = getattr(shape, "max_position_embeddings", knobs.max_length)
    if knobs.max_length > limit:
        raise Refused(f"train.max_length is {knobs.max_length} and {knobs.model} reads at most {limit} tokens")
    if engine == "fused" and not fusable:
        raise Refused(f'train.engine = "fused" knows Llama-shaped models, not {shape.model_type}: take "trl"')
    if engine == "unsloth" and knobs.method == "full":
        raise Refused('train.method = "full" is done by "fused" or "trl", not by unsloth')
    if knobs.start:
        check_start(knobs, engine, path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and engine != "fused":
        raise Refused(f'several GPUs are used by train.engine = "fused", not by "{engine}"')


def check_start(knobs: TrainConfig, engine: str, path: Path) -> None:
    """Refuse an adapter that the run could not go on from."""
    if engine != "fused" or knobs.method != "lora":
        raise Refused('train.start needs train.engine = "fused" and train.method = "lora"')
    folder = Path(knobs.start)
    check_base(read_adapter(folder), path)
    told = json.loads((folder / PEFT_CONFIG).read_text())
    before = (told["r"], sorted(told["target_modules"]), told["lora_alpha"])
    if before != (knobs.rank, sorted(knobs.targets), knobs.alpha):
        raise Refused(f"{folder}: rank, alpha or targets are not those of [train]; go on with the same")


def _plain(shape: Any) -> bool:
    """Whether the model is of the kind that bot.adapters.llm_fused runs."""
    return can_fuse(_without_weights(shape))


def _without_weights(shape: Any) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shape)


def _speedup(knobs: TrainConfig, path: Path) -> Any:
    """What `auto` means for a model of this size."""
    if knobs.speedup != "auto":
        return knobs.speedup
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 2  # at least two bytes each
    return "graphs" if weights < SMALL and knobs.method == "lora" else "compile"


def needed_bytes(knobs: TrainConfig, shape: Any) -> int:
    """Room for STATES_BYTES for each number that is trained, and for logs."""
    model = _without_weights(shape)
    if knobs.method == "full":
        return SPARE_BYTES + STATES_BYTES * int(model.num_parameters())
    layers = [one for name, one in model.named_modules() if name.rsplit(".", 1)[-1] in knobs.targets]
    numbers: int = knobs.rank * sum(one.in_features + one.out_features for one in layers)
    return SPARE_BYTES + STATES_BYTES * numbers


def _quiet() -> None:
    """No bars of transformers between our lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


# --- several GPUs ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """Rank and number of the run's processes, as torchrun told; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield torch.distributed.get_rank(), world
    finally:
        torch.distributed.destroy_process_group()


# --- what is seen ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _shown(console: Console | None) -> Iterator[Any]:
    """A function that shows the progress: a bar on a terminal, lines elsewhere, nothing without a console."""
    if console is None:
        yield lambda _now, _steps: None
        return
    if not console.is_terminal:
        yield lambda now, steps: console.print(f"step {now.step} of {steps}: {_words(now)}", soft_wrap=True)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=None)
        yield lambda now, steps: bars.update(task, completed=now.step, total=steps, description=_words(now))


def _words(now: Progress) -> str:
    best = f", validation {now.valid_loss:.4f} (best {now.best_loss:.4f})" if now.best_step else ""
    return f"loss {now.loss:.4f}{best}, {now.tokens_a_second:,.0f} tokens/s"


# --- what comes out ----------------------------------------------------------------------------------------------


def finish(out: Path, config: Config, data: Dataset, base: Path, now: Progress) -> Path:
    """The adapter's folder with its manifest, under its final name only when it is whole."""
    making, done, knobs = out / f".{ADAPTER}", out / ADAPTER, config.train
    known = trained_until(data, base, config)
    if knobs.method == "full":
        (making / MANIFEST).unlink(missing_ok=True)
        manifest = Manifest(
            name=out.name,
            source=f"{knobs.model}@{weights_sha256(base)[:12]}, all weights trained",
            source_sha256=weights_sha256(base),
            licence=licence_of(data, knobs),
            knowledge_until=known,
            made=datetime.now(UTC),
            versions=_versions(),
            sha256={path.name: sha256_of(path) for path in sorted(making.iterdir())},
        )
        (making / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        making.rename(done)
        return done
    told = AdapterManifest(
        name=out.name,
        base=knobs.model,
        base_sha256=weights_sha256(base),
        trained_until=known,
        mood="tuned" if data.manifest.counts["train"].get("mood") else "shown",
        columns=data.manifest.columns,
        windows=data.manifest.windows,
        licence=licence_of(data, knobs),
        made=datetime.now(UTC),
        git=revision(),
        versions=_versions(),
        scores=_loss_of(now, knobs),
        sha256={},
        language=LANGUAGE,
    )
    write_adapter(making, told)
    making.rename(done)
    return done


def trained_until(data: Dataset, base: Path, config: Config) -> date:
    """The last day that the adapter can know of: of the base, or of the data it was trained and chosen on.

    Of a base without a manifest, `model.trained_until` in config.toml tells.
    """
    manifest, cuts = read_manifest(base), data.manifest.cuts
    known = [manifest.knowledge_until if manifest else config.model.trained_until]
    known += [cuts.valid_until] if cuts else []
    known += [one.trained_until for one in _started_from(config.train)]
    return max(known)


def licence_of(data: Dataset, knobs: TrainConfig) -> str:
    """The licences of all sources, of what the run went on from too, as one text."""
    sources = [f"{one.name}: {one.licence}" for one in data.manifest.sources]
    return "; ".join(dict.fromkeys([*(one.licence for one in _started_from(knobs)), *sources]))


def _started_from(knobs: TrainConfig) -> list[AdapterManifest]:
    """The adapter that the run went on from, or nothing."""
    return [read_adapter_manifest(Path(knobs.start))] if knobs.start else []


def _loss_of(now: Progress, knobs: TrainConfig) -> dict[str, float]:
    """The validation loss of what came out, if it is known."""
    if not now.best_step:
        return {}
    if knobs.keep == "best":
        return {"valid_loss": now.best_loss}
    return {"valid_loss": now.valid_loss} if now.valid_step == now.step else {}


def _versions() -> dict[str, str]:
    told = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told[name] = importlib.metadata.version(name)
    return told


def revision() -> str:
    """The revision of the code, with a + where it was changed since; "unknown" without git.

    On a machine that got the code without its history, TWTRADER_REVISION tells it.
    """
    if os.environ.get("TWTRADER_REVISION"):
        return os.environ["TWTRADER_REVISION"]
    git = shutil.which("git")
    here = Path(__file__).resolve().parent
    if git is None:
        return "unknown"
    asked = [[git, "rev-parse", "--short=12", "HEAD"], [git, "status", "--porcelain", "--untracked-files=no"]]
    told = [subprocess.run(one, cwd=here, capture_output=True, text=True, check=False) for one in asked]  # noqa: S603
    return "unknown" if told[0].returncode else told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")
