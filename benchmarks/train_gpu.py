"""Fine-tuning on a GPU: the owner's own way, its packages at their best, and ours, in one run.

The shape is Llama-3.2-3B's with random weights, LoRA of rank 16 on all projections: speed does not depend on weights.
Examples are random tokens of the lengths that windows 5->5 have: in the owner's text 605 tokens, of them 305 answer; in
our language 101, of them 25. `one` runs everything on one GPU, each peer in a process of its own, and `scale` runs ours
under torchrun:

    python benchmarks/train_gpu.py one
    torchrun --nproc-per-node 2 benchmarks/train_gpu.py scale
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import torch

from benchmarks.llm_gpu import SHAPE
from bot.train_config import TrainConfig
from training.fused_engine import prepare
from training.loop import fit
from training.packs import Tokens
from training.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = 17_325  # of the owner's training set
OWNERS = (605, 305)  # tokens of a window in the owner's text, and of its answer
OURS = (101, 25)
BODY_FLOP = 2 * 2 * 2_818_572_288  # a token forward and its gradient back through frozen weights
dice = random.Random(1)


def main() -> None:
    """Measure and print."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("what", choices=["one", "scale", "peer"])
    told.add_argument("--steps", type=int, default=16)
    told.add_argument("--peers", type=int, default=len(PEERS), help="so many of them, the owner's way first")
    told.add_argument("--speedups", nargs="+", default=["off", "compile"], help="of ours")
    told.add_argument("--name", help="of one peer")
    told.add_argument("--folder", type=Path, help="where its model lies")
    asked = told.parse_args()
    if asked.what == "scale":
        scale(asked.steps)
        return
    if asked.what == "peer":
        print(f"rate {PEERS[asked.name](asked.folder)}", flush=True)
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    rates: dict[str, float] = {}
    for speedup in asked.speedups:
        rates[f"ours, {speedup}"] = ours(speedup, asked.steps)
        print(f"ours, {speedup}: {rates[f'ours, {speedup}']:,.0f} tokens/s", flush=True)
        free()
    rates |= peers(asked.peers)
    for name, rate in rates.items():
        length = OWNERS[0] if "owner" in name else OURS[0]
        print(f"{name}: {rate:,.0f} tokens/s, {WINDOWS} windows in {WINDOWS * length / rate:,.0f} s")
    best = max(rate for name, rate in rates.items() if name.startswith("ours"))
    print(f"ours: {best * BODY_FLOP / 1e12:.0f} TFLOP/s of the body alone")
    for name, rate in rates.items():
        if "owner" in name:
            print(f"an epoch is {OWNERS[0] / rate / (OURS[0] / best):.1f} x faster than by {name}")


def peers(count: int) -> dict[str, float]:
    """Tokens a second of the first `count` peers; one that fails is said and left out."""
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if count:
            save_model(Path(folder))
        for name in list(PEERS)[:count]:
            command = [sys.executable, __file__, "peer", "--name", name, "--folder", folder]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            rate = re.search(r"^rate (\S+)$", ran.stdout, re.MULTILINE)
            if rate:
                rates[name] = float(rate[1])
                print(f"{name}: {rates[name]:,.0f} tokens/s", flush=True)
            else:
                print(f"{name}: failed: {' | '.join(ran.stderr.strip().splitlines()[-3:])[:600]}", flush=True)
    return rates


# --- ours ----------------------------------------------------------------------------------------------------


def knobs(**told: Any) -> TrainConfig:
    """config.toml's, with some of them changed."""
    with (ROOT / "config.toml").open("rb") as file:
        usual = msgspec.convert(tomllib.load(file)["train"], TrainConfig)
    return dataclasses.replace(usual, batch=160, pack_tokens=16_384, logging_steps=4, save_minutes=1e9, **told)


def ours(speedup: str, steps: int) -> float:
    """Tokens a second of the real loop, from its 8th step on."""
    return train(knobs(speedup=speedup, max_steps=steps), random_model())


def train(config: TrainConfig, model: Any) -> float:
    """The loop's rate after its first eight steps, over all GPUs."""
    seen: list[Progress] = []
    examples = windows(config.batch * config.max_steps * int(os.environ.get("WORLD_SIZE", "1")), OURS)
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(model, config)
        del model
        fit(made, examples, [], config, Path(folder), lambda now, _steps: seen.append(now))
    before, after = next(one for one in seen if one.step >= 8), seen[-1]
    return (after.tokens - before.tokens) / (after.seconds - before.seconds)


def scale(steps: int) -> None:
    """Ours on as many GPUs as torchrun gives."""
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl")
    rate = train(knobs(speedup="compile", max_steps=steps), random_model())
    if torch.distributed.get_rank() == 0:
        print(
            f"{torch.distributed.get_world_size()} x {torch.cuda.get_device_name()}: {rate:,.0f} tokens/s", flush=True
        )
    torch.distributed.destroy_process_group()


def windows(count: int, lengths: tuple[int, int]) -> list[Tokens]:
    """Examples of random tokens."""
    length, answer = lengths
    return [Tokens(ids=tuple(random_ids(length)), answer=length - answer) for _ in range(count)]


def random_ids(count: int) -> list[int]:
    """Ids that are no special tokens."""
    return [dice.randrange(1_000, 120_000) for _ in range(count)]


def random_model() -> Any:
    """Random weights in bf16, made on this process's GPU."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda", torch.cuda.current_device()):
        model = AutoModelForCausalLM.from_config(SHAPE, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    return model


def free() -> None:
    """Give everything back before the next one begins."""
    gc.collect()
    torch._dynamo.reset()  # noqa: SLF001
    torch.cuda.empty_cache()


# --- the peers -------------------------------------------------------------------------------------------------


def save_model(folder: Path) -> None:
    """Random weights on the disk, with a tokenizer that loaders ask for and nobody uses."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = random_model()
    model.save_pretrained(folder)
    del model
    words = {f"w{at}": at for at in range(SHAPE.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))  # noqa: S106  (a word, no password)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "w0", "bos_token": "w1", "eos_token": "w2", "pad_token": "w3"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    free()


def owners_way(folder: Path) -> float:
    """Unsloth in 4 bits, two examples a batch, four batches a step, padded, its own checkpointing: as the notebook."""
    model, tokenizer = unsloth_model(folder, four_bits=True, length=1024, checkpointing="unsloth")
    return peer_rate(model, tokenizer, windows(2 * 4 * 20, OWNERS), batch=2, accumulation=4, packing=False, length=1024)


def owners_way_trl(folder: Path) -> float:
    """The same without unsloth: transformers, peft, bitsandbytes and trl."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(folder, quantization_config=bits, device_map={"": 0})
    base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=True)
    usual = knobs()
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules=list(usual.targets)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return peer_rate(model, tokenizer, windows(2 * 4 * 12, OWNERS), batch=2, accumulation=4, packing=False, length=1024)


def unsloth_at_its_best(folder: Path) -> float:
    """Unsloth in bf16 on our windows, many in a batch, no checkpointing."""
    model, tokenizer = unsloth_model(folder, four_bits=False, length=1024, checkpointing=False)
    return peer_rate(model, tokenizer, windows(128 * 14, OURS), batch=128, accumulation=1, packing=False, length=1024)


PEERS: dict[str, Callable[[Path], float]] = {
    "the owner's way (unsloth, 4 bits, 2 x 4, padded)": owners_way,
    "the owner's way without unsloth (trl, 4 bits)": owners_way_trl,
    "unsloth, bf16, our windows, 128 at once": unsloth_at_its_best,
}


def unsloth_model(folder: Path, *, four_bits: bool, length: int, checkpointing: Any) -> tuple[Any, Any]:
    """A model with LoRA matrices by unsloth."""
    from unsloth import FastLanguageModel

    base, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(folder), max_seq_length=length, dtype=torch.bfloat16, load_in_4bit=four_bits
    )
    usual = knobs()
    model = FastLanguageModel.get_peft_model(
        base, r=16, lora_alpha=32, target_modules=list(usual.targets), use_gradient_checkpointing=checkpointing
    )
    return model, tokenizer


def peer_rate(
    model: Any, tokenizer: Any, examples: Sequence[Tokens], *, batch: int, accumulation: int, packing: bool, length: int
) -> float:
    """Tokens a second of trl's trainer, without its first quarter of steps."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            times.append(time.perf_counter())

    rows = {
        "input_ids": [list(one.ids) for one in examples],
        "completion_mask": [[0] * one.answer + [1] * (len(one.ids) - one.answer) for one in examples],
    }
    steps = len(examples) // (batch * accumulation)
    with tempfile.TemporaryDirectory() as out:
        args = SFTConfig(
            output_dir=out, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
            max_steps=steps, learning_rate=2e-4, bf16=True, packing=packing, max_length=length, report_to=[],
            logging_steps=1000, save_strategy="no", optim="adamw_torch_fused", completion_only_loss=True,
            disable_tqdm=True,
        )  # fmt: skip
        SFTTrainer(
            model=model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer,
            callbacks=[Clock()],
        ).train()  # fmt: skip
    skipped = max(2, steps // 4)
    tokens = sum(len(one.ids) for one in examples) / steps
    return tokens * (len(times) - 1 - skipped) / (times[-1] - times[skipped])


if __name__ == "__main__":
    main()
