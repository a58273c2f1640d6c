"""The training model against transformers and peft, which do the same one layer and one example at a time."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from training.fused_llama import TARGETS, FusedLlama, Lora
from training.packs import Tokens, epoch_order, pack, split_batch

EXAMPLES = [
    Tokens(ids=(5, 9, 2, 7, 11, 3), answer=4),
    Tokens(ids=(1, 2, 3), answer=1),
    Tokens(ids=(8, 8, 1, 30, 31, 32, 33, 34), answer=6),
]
LLAMA = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
)  # fmt: skip
QWEN = Qwen2Config(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=False,
)  # fmt: skip


def model_of(config: object) -> object:
    """Random weights, the same every time."""
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def plain_loss(model: object) -> Tensor:
    """The same loss by transformers, one example at a time."""
    total = torch.zeros(())
    for one in EXAMPLES:
        labels = torch.tensor([[-100] * one.answer + list(one.ids[one.answer :])])
        told = model(input_ids=torch.tensor([one.ids]), labels=labels)
        total = total + told.loss * (len(one.ids) - one.answer)
    return total


@pytest.mark.parametrize("config", [LLAMA, QWEN], ids=["tied", "biased"])
@pytest.mark.parametrize("targets", [TARGETS, ("q_proj", "v_proj"), ("k_proj", "up_proj", "down_proj")])
def test_loss_and_gradients_are_those_of_peft(config: object, targets: tuple[str, ...]) -> None:
    ours = FusedLlama(model_of(config), Lora(rank=4, alpha=8, targets=targets), compiled=False)
    torch.manual_seed(4)
    for one in ours.trained():
        torch.nn.init.normal_(one, std=0.1)
    told = get_peft_model(model_of(config), LoraConfig(r=4, lora_alpha=8, target_modules=list(targets)))
    named = {name.replace(".default.", "."): one for name, one in told.named_parameters() if one.requires_grad}
    start = ours.changes()
    assert set(start) == set(named)
    for name, one in named.items():
        one.data.copy_(start[name])

    mine, theirs = ours.loss(pack(EXAMPLES, longest=8)), plain_loss(told)
    mine.backward()
    theirs.backward()

    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)
    for one in ours.trained():  # so that `changes` tells gradients under peft's names
        one.data = torch.zeros_like(one) if one.grad is None else one.grad
    for name, grad in ours.changes().items():
        assert torch.allclose(grad, named[name].grad, atol=1e-5), name


def test_all_weights_can_be_trained_and_are_told_under_transformers_names() -> None:
    ours, theirs = FusedLlama(model_of(LLAMA), None, compiled=False), model_of(LLAMA)

    mine, plain = ours.loss(pack(EXAMPLES, longest=8)), plain_loss(theirs)
    mine.backward()
    plain.backward()

    assert mine.item() == pytest.approx(plain.item(), rel=1e-5)
    expected = dict(theirs.named_parameters())
    told = ours.weights()
    assert set(told) == set(expected)
    assert all(torch.equal(told[name], one.detach().bfloat16()) for name, one in expected.items())
    for one in ours.trained():
        one.data = one.grad
    assert all(
        torch.allclose(grad.float(), expected[name].grad, atol=2e-2, rtol=2e-2) for name, grad in ours.weights().items()
    )


def test_layers_computed_twice_give_the_same_gradients() -> None:
    told = []
    for checkpoints in (False, True):
        model = FusedLlama(model_of(LLAMA), Lora(rank=2, alpha=2), compiled=False, checkpoints=checkpoints)
        torch.manual_seed(5)
        for one in model.trained():
            torch.nn.init.normal_(one, std=0.1)
        model.train().loss(pack(EXAMPLES, longest=8)).backward()
        told.append([one.grad for one in model.trained()])

    assert all(torch.allclose(one, other) for one, other in zip(*told, strict=True))


def test_a_pack_tells_where_examples_begin_and_what_is_wanted() -> None:
    told = pack(EXAMPLES[:2], longest=100, slots=6, answers=3)

    assert told.ids[:9].tolist() == [5, 9, 2, 7, 11, 3, 1, 2, 3]
    assert told.places[:9].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert told.starts.tolist() == [0, 6, 9, 109, 209, 256, 256]  # examples, fillers of at most 100, an empty one
    assert told.wanted.tolist() == [3, 4, 6, 7, 0, 0]
    assert told.targets.tolist() == [11, 3, 2, 3, -100, -100]


def test_a_batch_is_split_by_tokens_and_no_example_is_lost() -> None:
    assert [len(part) for part in split_batch(EXAMPLES, 9)] == [2, 1]
    assert [len(part) for part in split_batch(EXAMPLES, 1)] == [1, 1, 1]


def test_an_epochs_order_is_a_permutation_that_can_be_asked_for_again() -> None:
    assert sorted(epoch_order(50, 7, 2)) == list(range(50))
    assert epoch_order(50, 7, 2) == epoch_order(50, 7, 2) != epoch_order(50, 7, 3)


@pytest.mark.parametrize("answer", [0, 3])
def test_an_example_without_question_or_answer_is_refused(answer: int) -> None:
    with pytest.raises(ValueError, match="a question and an answer"):
        Tokens(ids=(1, 2, 3), answer=answer)
