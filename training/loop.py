"""The training loop: batches, optimiser, schedule, validation, and a state from which a killed run goes on."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed, nn

from bot.errors import Refused
from bot.train_config import TrainConfig
from training.fused_llama import FusedLlama
from training.graphs import Graphed, Plain
from training.packs import GRAIN, Pack, Tokens, epoch_order, pack, split_batch
from training.progress import Progress

STATE: Final = "state.safetensors"
BEST: Final = "best.safetensors"
SLOTS: Final = 64  # `starts` of a pack tells of a multiple of so many examples
GRAPH_GRAIN: Final = 512  # for CUDA graphs, each of one shape, packs' lengths are multiples of so many tokens
GRAPH_ANSWERS: Final = 64  # and their answers of so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which examples each step takes. `world` GPUs share a step's `batch` x `accumulation` x `world` examples."""

    examples: int
    batch: int
    world: int
    seed: int
    steps: int

    @property
    def steps_an_epoch(self) -> int:
        """The last step of an epoch takes what is left."""
        return -(-self.examples // self.batch)

    def of(self, step: int) -> tuple[int, ...]:
        """The places of the examples of `step`, counted from 0, of all GPUs together."""
        epoch, at = divmod(step, self.steps_an_epoch)
        return epoch_order(self.examples, self.seed, epoch)[at * self.batch : (at + 1) * self.batch]


def plan_of(config: TrainConfig, examples: int, world: int = 1) -> Plan:
    """The plan that the knobs make for so many examples."""
    batch = config.batch * config.accumulation * world
    plan = Plan(examples=examples, batch=batch, world=world, seed=config.seed, steps=config.max_steps)
    if plan.steps:
        return plan
    steps = math.ceil(config.epochs * plan.steps_an_epoch - 1e-9)  # 0.1 of 30 steps are 3, though floats say more
    return replace(plan, steps=max(1, steps))


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of `step` (from 0) of `steps`: a straight rise in the warm-up, then as the scheduler says."""
    rise = math.ceil(config.warmup * steps)
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    if config.scheduler == "constant":
        return config.learning_rate
    if config.scheduler == "linear":
        return config.learning_rate * (1 - done)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def fit(
    model: FusedLlama,
    train: Sequence[Tokens],
    valid: Sequence[Tokens],
    config: TrainConfig,
    folder: Path,
    watch: Callable[[Progress, int], None],
) -> Progress:
    """Train `model` and leave in it the state that `config.keep` names; without `valid` that is the last.

    `folder` holds the states; with one there, the run goes on from it. `watch` hears of the progress, and of how many
    steps there will be, after every `config.logging_steps`, every validation, and at the end.

    Raises:
        Refused: the loss is no number any more.
    """
    rank, world = _place()
    plan = plan_of(config, len(train), world)
    validate_at = _validations(plan, config.evals_per_epoch) if valid else frozenset[int]()
    longest = max(len(one.ids) for one in (*train, *valid))
    optimiser = optimiser_of(model, config)
    graphs = config.speedup == "graphs" and model.embed.is_cuda
    adder = Graphed(model, config.smoothing) if graphs else Plain(model, config.smoothing)
    now = load_state(model, optimiser, folder)
    if now.step:
        watch(now, plan.steps)
    model.train()
    losses, saved, began = torch.zeros((), device=model.embed.device), time.monotonic(), time.monotonic()
    counted, before = 0, now
    while now.step < plan.steps and not _is_enough(now, config):
        rate = learning_rate(config, now.step, plan.steps)
        chosen = [train[place] for place in plan.of(now.step)]
        answers = sum(len(one.ids) - one.answer for one in chosen)
        if config.dropout:  # so that a resumed run drops what an uninterrupted one drops
            torch.manual_seed((config.seed * 1_000_003 + now.step) * world + rank)
        packs = list(_packs(chosen[rank::world], config, longest, graphs=graphs))
        losses += _gradients(model, adder, packs, answers, config)
        _add_up(model.trained())
        _step(model, optimiser, rate, config.clip)
        counted += 1
        tokens = now.tokens + sum(len(one.ids) for one in chosen)
        now = replace(now, step=now.step + 1, learning_rate=rate, tokens=tokens)
        due = now.step in validate_at or now.step == plan.steps
        if due or now.step % config.logging_steps == 0:
            now = replace(now, loss=_mean_loss(losses, counted), seconds=before.seconds + time.monotonic() - began)
            losses.zero_()
            counted = 0
        if now.step in validate_at:
            now = replace(_validated(now, model, valid, config, longest, folder, rank), valid_step=now.step)
            before, began = now, time.monotonic()  # validation is no training time
        if due or now.step % config.logging_steps == 0:
            watch(now, plan.steps)
        if rank == 0 and (due or time.monotonic() - saved > 60 * config.save_minutes):
            kept = replace(now, seconds=before.seconds + time.monotonic() - began)
            save_state(model, optimiser, kept, folder)
            saved = time.monotonic()
    if config.keep == "best" and valid and (folder / BEST).is_file():
        _read_tensors(folder / BEST, _named(model))
    return now


def mean_loss(model: FusedLlama, examples: Sequence[Tokens], config: TrainConfig, longest: int) -> float:
    """The mean over all answer tokens of -log p, in nats; the GPUs share the work."""
    rank, world = _place()
    device = model.embed.device
    total = torch.zeros(2, dtype=torch.float64, device=device)
    model.eval()
    ordered = sorted(examples, key=lambda one: len(one.ids))
    size = config.batch * config.accumulation
    with torch.no_grad():
        for at in range(rank * size, len(ordered), world * size):
            for one in _packs(ordered[at : at + size], config, longest):
                total[0] += model.loss(one.to(device))
            total[1] += sum(len(one.ids) - one.answer for one in ordered[at : at + size])
    model.train()
    if world > 1:
        distributed.all_reduce(total)
    return float(total[0] / total[1])


def optimiser_of(model: FusedLlama, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that the knobs name; vectors (norms, biases) do not decay.

    Raises:
        Refused: it needs bitsandbytes or CUDA, and that is not here.
    """
    cuda = model.embed.device.type == "cuda"
    groups = [
        {"params": [one for one in model.trained() if one.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in model.trained() if one.dim() < 2], "weight_decay": 0.0},  # noqa: PLR2004
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=cuda)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as absent:
        raise Refused('optimiser = "adamw_8bit" needs the package bitsandbytes') from absent
    if not cuda:
        raise Refused('optimiser = "adamw_8bit" needs CUDA')
    eight_bit: torch.optim.Optimizer = AdamW8bit(groups, lr=config.learning_rate)
    return eight_bit


# --- a step ------------------------------------------------------------------------------------------------


def _packs(examples: Sequence[Tokens], config: TrainConfig, longest: int, *, graphs: bool = False) -> Iterator[Pack]:
    """`examples` in packs that fit; without packing one example each. `graphs` want few shapes."""
    for part in split_batch(examples, config.pack_tokens if config.packing else 1):
        if graphs:
            yield pack(part, longest, slots=SLOTS, grain=GRAPH_GRAIN, answers=GRAPH_ANSWERS)
        else:
            yield pack(part, longest, slots=SLOTS, grain=GRAIN if torch.cuda.is_available() else 1)


def _gradients(
    model: FusedLlama, adder: Plain | Graphed, packs: Sequence[Pack], answers: int, config: TrainConfig
) -> Tensor:
    """The summed loss of `packs`; their gradients are in the parameters'.

    Where memory runs out and `checkpointing` is "auto", layers are computed twice from this step on.
    """
    plain = Plain(model, config.smoothing)  # a CUDA graph can't record what checkpoints do
    try:
        return _sum([(plain if model.checkpoints else adder).add(one, answers) for one in packs], model)
    except torch.OutOfMemoryError:
        if config.checkpointing != "auto" or model.checkpoints:
            raise
    model.checkpoints = True
    for one in model.trained():
        if one.grad is not None:
            one.grad.zero_()  # what the packs before had added
    torch.cuda.empty_cache()
    return _sum([plain.add(one, answers) for one in packs], model)


def _sum(losses: list[Tensor], model: FusedLlama) -> Tensor:
    return torch.stack(losses).sum() if losses else torch.zeros((), device=model.embed.device)


def _is_enough(now: Progress, config: TrainConfig) -> bool:
    """Whether `patience` validations found nothing better."""
    return bool(config.patience) and now.since_best >= config.patience


def _step(model: FusedLlama, optimiser: torch.optim.Optimizer, rate: float, clip: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    nn.utils.clip_grad_norm_(model.trained(), clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=False)  # a CUDA graph adds to them where they lie


def _add_up(parameters: Sequence[Tensor]) -> None:
    """The gradients of all GPUs added, in place; a GPU that had no example in this step adds nothing."""
    if _place()[1] == 1:
        return
    grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    flat = torch.cat([one.flatten() for one in grads])
    distributed.all_reduce(flat)
    added: Sequence[Tensor] = torch.split(flat, [one.numel() for one in parameters])
    for one, grad, told in zip(parameters, grads, added, strict=True):
        one.grad = grad.copy_(told.view_as(one))


def _mean_loss(losses: Tensor, steps: int) -> float:
    """The mean loss of the last `steps`, over all GPUs."""
    if _place()[1] > 1:
        distributed.all_reduce(losses)
    told = float(losses) / steps
    if not math.isfinite(told):
        raise Refused("the loss is no number any more: a smaller learning rate may help; the best state is kept")
    return told


def _validations(plan: Plan, an_epoch: int) -> frozenset[int]:
    """After which steps the validation loss is taken; the last one is always among them."""
    every = max(1, plan.steps_an_epoch // an_epoch)
    return frozenset({*range(every, plan.steps + 1, every), plan.steps})


def _validated(
    now: Progress,
    model: FusedLlama,
    valid: Sequence[Tokens],
    config: TrainConfig,
    longest: int,
    folder: Path,
    rank: int,
) -> Progress:
    """The progress with a new validation loss; a better state than any before is kept on disk."""
    loss = mean_loss(model, valid, config, longest)
    if not loss < now.best_loss:
        return replace(now, valid_loss=loss, since_best=now.since_best + 1)
    if rank == 0:
        write_tensors(folder / BEST, _named(model), {})
    if _place()[1] > 1:
        distributed.barrier()
    return replace(now, valid_loss=loss, best_loss=loss, best_step=now.step, since_best=0)


def _place() -> tuple[int, int]:
    """Which process of the run is this one, of how many: (rank, world)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


# --- the state ---------------------------------------------------------------------------------------------


def save_state(model: FusedLlama, optimiser: torch.optim.Optimizer, now: Progress, folder: Path) -> None:
    """Everything from which the run goes on, as one file that is there wholly or not at all."""
    tensors = {f"model.{name}": one for name, one in _named(model).items()}
    for at, told in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{at}.{name}": one for name, one in told.items() if isinstance(one, Tensor)}
    write_tensors(folder / STATE, tensors, {"progress": json.dumps(asdict(now))})


def load_state(model: FusedLlama, optimiser: torch.optim.Optimizer, folder: Path) -> Progress:
    """Go on from the state in `folder`, if one is there."""
    path = folder / STATE
    if not path.is_file():
        return Progress()
    with safe_open(path, "pt") as file:
        now = Progress(**json.loads(file.metadata()["progress"]))
        kept: dict[int, dict[str, Tensor]] = {}
        for key in file.keys():  # noqa: SIM118  (a file of tensors, no dict)
            if key.startswith("optimiser."):
                _, at, name = key.split(".", 2)
                kept.setdefault(int(at), {})[name] = file.get_tensor(key)
    _read_tensors(path, {f"model.{name}": one for name, one in _named(model).items()})
    optimiser.load_state_dict({**optimiser.state_dict(), "state": kept})
    return now


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """A safetensors file that replaces the one before at once.

    Raises:
        Refused: the disk does not take it.
    """
    parts = path.with_suffix(".part")
    try:
        save_file({name: one.detach().contiguous().cpu() for name, one in tensors.items()}, parts, metadata=facts)
        with parts.open("rb") as file:
            os.fsync(file.fileno())
        parts.replace(path)
    except (OSError, SafetensorError) as wrong:
        raise Refused(f"{path}: {wrong}; the state before it is kept") from wrong


def _read_tensors(path: Path, into: dict[str, Tensor]) -> None:
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, one in into.items():
            one.copy_(file.get_tensor(name))


def _named(model: FusedLlama) -> dict[str, Tensor]:
    """What is trained, by name."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}
