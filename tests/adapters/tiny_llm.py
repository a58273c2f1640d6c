"""A Llama of two small layers with random weights, and word-level tokenizers that cut numbers as we like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bot.adapters.model_store import MANIFEST, sha256_of

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,:%=-()\n台積電鴻海"
WORDS = (" positive", " neutral", " negative", "Headline", "Sentiment")


def make_tokenizer(digits: int, without: tuple[str, ...] = ()) -> Any:
    """A tokenizer with tokens for all numbers of up to `digits` digits (one for twelve zeros, if 12)."""
    numbers = [f"{number:0{size}d}" for size in range(1, min(digits, 3) + 1) for number in range(10**size)]
    pieces = ["<unk>", "<turn>", *WORDS, *LETTERS, *numbers, *(["0" * 12] if digits == 12 else [])]
    vocabulary = {piece: at for at, piece in enumerate(piece for piece in pieces if piece not in without)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    cut = Regex("|".join((*WORDS, rf"\d{{1,{digits}}}", r"[^\d]")))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(cut, behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", additional_special_tokens=["<turn>"])


def make_tiny_model(
    folder: Path, *, digits: int, manifest: bool = False, kind: type[PreTrainedModel] = LlamaForCausalLM
) -> None:
    """A model folder as `pull` makes them, with about 100,000 random weights; of another `kind` than Llama's, if told."""
    tokenizer = make_tokenizer(digits)
    torch.manual_seed(7)
    shape = kind.config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.4,
        tie_word_embeddings=True,
    )
    kind(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if manifest:
        _describe(folder)


def _describe(folder: Path) -> None:
    import json

    told = {"name": folder.name, "source": "made here", "source_sha256": "", "licence": "MIT", "versions": {}}
    told |= {"knowledge_until": "2024-01-01", "made": "2025-01-01T00:00:00Z"}
    told |= {"sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())}}
    (folder / MANIFEST).write_text(json.dumps(told))
