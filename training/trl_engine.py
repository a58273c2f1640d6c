"""transformers, peft and trl's SFTTrainer, on the CPU or CUDA; through unsloth's loader where that is asked for.

Slower than training.fused_engine, and for everything that it does not do: 4 and 8 bits, and models of other shapes.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from bot.adapters.llm_loading import load_tokenizer
from bot.errors import Refused
from bot.train_config import TrainConfig
from training.fused_engine import write_peft_config
from training.loop import plan_of
from training.packs import Tokens
from training.progress import Progress
from training.run_folder import ADAPTER

STATES: Final = "states"
SCHEDULERS: Final = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
OPTIMISERS: Final = {"adamw": "adamw_torch", "adamw_8bit": "adamw_8bit", "sgd": "sgd"}


def train_trl(
    path: Path,
    examples: Sequence[Tokens],
    valid: Sequence[Tokens],
    knobs: TrainConfig,
    out: Path,
    watch: Callable[[Progress, int], None],
) -> Progress:
    """Train the model in the folder `path` and write what came out to `out`/.adapter.

    Raises:
        Refused: the loss is no number any more.
    """
    model, tokenizer = _load_unsloth(path, knobs) if knobs.engine == "unsloth" else _load(path, knobs)
    from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # it fills rows, and nobody reads it

    plan = plan_of(knobs, len(examples))
    teller = _teller(TrainerCallback)(examples, knobs, plan.steps, watch)
    callbacks = [teller, *([EarlyStoppingCallback(knobs.patience)] if knobs.patience and valid else [])]
    trainer = _trainer_kind()(
        model=model,
        args=_arguments(
            knobs,
            out,
            plan.steps,
            plan.steps_an_epoch,
            judged=bool(valid),
            packing=_can_pack(model),
        ),
        train_dataset=_dataset(examples),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # `watch` tells
    states = out / STATES
    kept = whole_state(states)
    try:
        trainer.train(resume_from_checkpoint=str(kept) if kept else None)
        folder = out / f".{ADAPTER}"
        trainer.model.save_pretrained(folder, safe_serialization=True)
    except (OSError, SafetensorError) as wrong:
        raise Refused(f"{states}: {wrong}; the state before it is kept") from wrong
    if knobs.method == "full":
        load_tokenizer(path).save_pretrained(folder)  # trl has changed the other one
    else:
        write_peft_config(path, knobs, folder)  # peft's and unsloth's own name the base's place on this machine
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    now: Progress = teller.now
    return now


def whole_state(states: Path) -> Path | None:
    """The newest checkpoint that was written to its end; trl writes its trainer_state.json last.

    What a kill left half-written is removed.
    """
    whole: Path | None = None
    for one in sorted(states.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        try:
            json.loads((one / "trainer_state.json").read_bytes())
        except (OSError, ValueError):
            shutil.rmtree(one)
        else:
            whole = one
    return whole


def _load(path: Path, knobs: TrainConfig) -> tuple[Any, Any]:
    """The base with its low-rank changes, as transformers and peft make them."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    cuda = torch.cuda.is_available()
    told: dict[str, Any] = {"dtype": torch.bfloat16 if cuda and knobs.method != "full" else torch.float32}
    if knobs.method == "qlora":
        told["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    elif knobs.method == "8bit":
        told["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    base = AutoModelForCausalLM.from_pretrained(
        path, local_files_only=True, trust_remote_code=False, use_safetensors=True, **told
    )
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if cuda:
        base = base.cuda()
    if knobs.method == "full":
        return base, tokenizer
    if knobs.method in {"qlora", "8bit"}:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=knobs.checkpointing == "on")
    torch.manual_seed(knobs.seed)
    lora = LoraConfig(
        r=knobs.rank,
        lora_alpha=knobs.alpha,
        lora_dropout=knobs.dropout,
        target_modules=sorted(knobs.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, lora), tokenizer


def _load_unsloth(path: Path, knobs: TrainConfig) -> tuple[Any, Any]:
    """The same through unsloth, which imports only where there is a GPU."""
    from unsloth import FastLanguageModel

    base, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(path),
        max_seq_length=knobs.max_length,
        dtype=torch.bfloat16,
        load_in_4bit=knobs.method == "qlora",
        load_in_8bit=knobs.method == "8bit",
        local_files_only=True,
    )
    model = FastLanguageModel.get_peft_model(
        base,
        r=knobs.rank,
        lora_alpha=knobs.alpha,
        lora_dropout=knobs.dropout,
        target_modules=list(knobs.targets),
        random_state=knobs.seed,
        use_gradient_checkpointing="unsloth" if knobs.checkpointing == "on" else False,
    )
    return model, tokenizer


def _trainer_kind() -> Any:
    """Trl's trainer. Its loss is a Triton kernel; without a GPU the model's own loss takes that place."""
    from transformers import Trainer
    from trl import SFTTrainer

    if torch.cuda.is_available():
        return SFTTrainer

    class PlainLossTrainer(SFTTrainer):  # type: ignore[misc]
        def compute_loss(self, *given: Any, **named: Any) -> Any:
            return Trainer.compute_loss(self, *given, **named)

    return PlainLossTrainer


def _arguments(knobs: TrainConfig, out: Path, steps: int, steps_an_epoch: int, *, judged: bool, packing: bool) -> Any:
    """Our knobs in trl's words."""
    from trl import SFTConfig

    every = max(1, min(steps, steps_an_epoch // knobs.evals_per_epoch))
    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(out / STATES),
        max_length=knobs.max_length,
        packing=knobs.packing and packing,
        eval_packing=False,
        completion_only_loss=True,
        loss_type="nll",  # trl's chunked one needs Triton
        per_device_train_batch_size=knobs.batch,
        per_device_eval_batch_size=knobs.batch,
        gradient_accumulation_steps=knobs.accumulation,
        max_steps=steps,
        learning_rate=knobs.learning_rate,
        lr_scheduler_type=SCHEDULERS[knobs.scheduler],
        warmup_steps=math.ceil(knobs.warmup * steps),
        optim=OPTIMISERS[knobs.optimiser],
        weight_decay=knobs.weight_decay,
        max_grad_norm=knobs.clip,
        label_smoothing_factor=knobs.smoothing,
        gradient_checkpointing=knobs.checkpointing == "on",
        logging_steps=knobs.logging_steps,
        eval_strategy="steps" if judged else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every if judged else min(steps, 100),
        save_total_limit=2,
        load_best_model_at_end=judged and knobs.keep == "best",
        restore_callback_states_from_checkpoint=True,  # how long early stopping has waited
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        seed=knobs.seed,
        data_seed=knobs.seed,
        bf16=cuda,
        use_cpu=not cuda,
        report_to=[],  # our own log writes TensorBoard's curves for every engine
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
    )


def _can_pack(model: Any) -> bool:
    """Trl keeps packed examples apart only with FlashAttention; without it they would see each other."""
    return "flash" in str(getattr(model.config, "_attn_implementation", ""))


def _dataset(examples: Sequence[Tokens]) -> Any:
    """Token ids, and a mask that is 1 on the answer: the loss counts nothing else."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_dict(
        {
            "input_ids": [list(one.ids) for one in examples],
            "completion_mask": [[0] * one.answer + [1] * (len(one.ids) - one.answer) for one in examples],
        }
    )


def _after(before: Progress, step: int, logs: dict[str, float], step_tokens: float) -> Progress:
    """The progress after a line of the trainer's log."""
    now = replace(before, step=step, tokens=round(step * step_tokens))
    if "loss" in logs:
        now = replace(now, loss=logs["loss"], learning_rate=logs.get("learning_rate", 0.0))
    if "eval_loss" in logs:
        now = replace(now, valid_loss=logs["eval_loss"], valid_step=step)
        if logs["eval_loss"] < now.best_loss:
            now = replace(now, best_loss=logs["eval_loss"], best_step=step)
    return now


def _teller(callback: Any) -> Any:
    """A trainer's callback that tells `watch` of the progress; its base class comes with transformers."""

    class Teller(callback):  # type: ignore[misc]
        """Counts tokens and seconds, and keeps the best validation loss."""

        def __init__(
            self, examples: Sequence[Tokens], knobs: TrainConfig, steps: int, watch: Callable[[Progress, int], None]
        ) -> None:
            mean = sum(len(one.ids) for one in examples) / len(examples)
            self._step_tokens = mean * knobs.batch * knobs.accumulation
            self._steps, self._watch, self._knobs = steps, watch, knobs
            self.now, self._began, self._saved = Progress(), time.monotonic(), time.monotonic()

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            """From where the run goes on."""
            seconds = max([one.get("seconds", 0.0) for one in state.log_history], default=0.0)
            self._began = time.monotonic() - seconds
            for logs in state.log_history:
                self.now = replace(_after(self.now, int(logs["step"]), logs, self._step_tokens), seconds=seconds)
            if state.global_step:
                self.now = replace(self.now, step=state.global_step)
                self._watch(self.now, self._steps)

        def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
            """Ask for a state every `save_minutes`."""
            if time.monotonic() - self._saved > 60 * self._knobs.save_minutes:
                control.should_save = True

        def on_save(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            """A state is kept."""
            self._saved = time.monotonic()

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            """A line of loss, or a validation."""
            if not math.isfinite(logs.get("loss", 0.0)):
                raise Refused("the loss is no number any more: a smaller learning rate may help")
            seconds = time.monotonic() - self._began
            state.log_history[-1]["seconds"] = seconds  # kept with the state
            self.now = replace(_after(self.now, state.global_step, logs, self._step_tokens), seconds=seconds)
            self._watch(self.now, self._steps)

    return Teller
