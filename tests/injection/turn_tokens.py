"""Tokenizers by hand that know the turns of every family of chat models, and those families' ways to write a chat."""

from __future__ import annotations

from typing import Any, Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# Whatever opens or closes something in a chat, as published with each model's tokenizer.
TURNS: Final = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
    *("<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"),
    *("<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<0x0A>"),
    *("<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|observation|>", "[gMASK]", "<sop>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    *("<|channel|>", "<|message|>", "<|return|>"),
)

LLAMA_3: Final = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def turn_tokenizer(*, special: bool) -> Any:
    """A byte-level tokenizer to which each of TURNS is one token: special, or merely added as some models have it.

    Of two that overlap the longest wins, and blanks beside them are swallowed: as greedy as a tokenizer can be.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, [], byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    turns = [AddedToken(turn, lstrip=True, rstrip=True, normalized=False, special=special) for turn in TURNS]
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(turns)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=LLAMA_3)
