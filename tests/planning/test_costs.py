"""The cost model against sizes that are known, and against what torch really holds."""

from __future__ import annotations

import pytest

from rankadaptor.planning.costs import (
    Cost,
    Work,
    count_forward,
    count_kept_numbers,
    count_taylor_bytes,
    count_training,
    count_training_bytes,
    count_weight_bytes,
)
from rankadaptor.planning.lengths import count_sequences, guess_row
from rankadaptor.planning.rates import Rate
from rankadaptor.planning.shape import KIT_CONFIGS, parse_shape

KIT = parse_shape(KIT_CONFIGS["smollm2-135m"], source="kit")
WORK = Work(tokens=1024, targets=1016, length=128)


def test_operations_are_two_per_weight_and_token_and_twice_that_for_training() -> None:
    forward, training = count_forward(KIT, WORK), count_training(KIT, WORK, adapter=0)
    attention = 2 * 128 * 576 * 30 * 1024  # scores and values, half of the square
    assert forward.operations == pytest.approx(2 * KIT.multiplied * 1024 + attention, rel=0.005)
    assert training.operations == pytest.approx(2 * forward.operations, rel=0.02)
    adapted = count_training(KIT, WORK, adapter=10**6).operations - training.operations
    assert adapted == 6 * 10**6 * 1024
    again = count_training(KIT, WORK, adapter=0, recompute=True).operations
    assert again == training.operations + forward.operations


def test_the_bench_counts_the_same_operations(pico_model) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from rankadaptor.planning.shape import BlockShape, ModelShape

    shape = ModelShape(hidden=32, vocabulary=128, head_dim=8, tied=False, blocks=(BlockShape(4, 2, 64),) * 3)
    model = pico_model("llama", 3)
    import torch

    tokens = torch.arange(3, 67).reshape(2, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=tokens, use_cache=False)
    counted = count_forward(shape, Work(64, 64, 32)).operations
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.15)  # torch counts the whole square


def test_weights_shrink_with_their_precision() -> None:
    sizes = [
        count_weight_bytes(KIT, dtype=dtype, quantise=quantise)
        for dtype, quantise in (
            ("float32", None),
            ("bfloat16", None),
            ("bfloat16", "int8"),
            ("bfloat16", "nf4"),
        )
    ]
    assert sizes[0] == 4 * KIT.parameters
    assert sizes == sorted(sizes, reverse=True)
    inner = sum(linear.in_features * linear.out_features for linear in KIT.linears)
    assert sizes[1] - sizes[3] == pytest.approx(1.48 * inner)


def test_memory_grows_with_tokens_and_less_when_activations_are_computed_again() -> None:
    def count(tokens: int, **changes: object) -> float:
        work = Work(tokens, tokens, 128)
        return count_training_bytes(KIT, work, adapter=0, dtype="float32", **changes)  # type: ignore[arg-type]

    kept = sum(count_kept_numbers(KIT, block) for block in KIT.blocks)
    assert count(2048) - count(1024) == 4 * 1024 * kept
    assert count(1024, recompute=True) < count(1024) - 0.8 * 4 * 1024 * kept
    assert count(1024, quantise="nf4") < count(1024)


def test_taylor_importance_is_far_below_all_gradients() -> None:
    weights = count_weight_bytes(KIT, dtype="float32")
    extra = count_taylor_bytes(KIT, Work(640, 630, 64), dtype="float32") - weights
    assert 0 < extra < 0.5 * weights


def test_texts_are_cut_into_pieces_and_other_rows_are_one_sequence_each() -> None:
    assert count_sequences("kit:c4", rows=16, length=128) > 4 * 16
    assert count_sequences("kit:lambada", rows=16, length=128) < 16
    assert count_sequences("kit:alpaca", rows=16, length=128) == 16
    assert count_sequences("rows.jsonl", rows=16, length=128) == 16


def test_rows_of_the_kit_have_their_lengths_and_others_are_full() -> None:
    assert guess_row("kit:alpaca", length=128).tokens == 110.0
    lengths = [guess_row("kit:alpaca", length=length).tokens for length in (16, 64, 100, 128, 400, 512, 4096)]
    assert lengths == sorted(lengths)
    assert all(guess_row("kit:commonsense", length=n).targets < n for n in (8, 64, 300, 999))
    full = guess_row("rows.jsonl", length=77)
    assert (full.tokens, full.targets, full.known) == (77, 76, False)
    assert full.repeat(3) == Work(231, 228, 77)


def test_time_is_products_and_what_lies_around_them() -> None:
    rate = Rate(1e11, 4, "test")
    assert rate.compute_seconds(Cost(1e12, 0)) > 10
    assert rate.compute_seconds(Cost(1e12, 1e9)) > rate.compute_seconds(Cost(1e12, 0))
    assert rate.dtype == "float32"


def test_logits_with_a_teacher_are_counted_as_the_training_loop_holds_them() -> None:
    from rankadaptor.planning import costs
    from rankadaptor.training import head_loss

    assert (costs.KL_LIMIT, costs.HEAD_PIECE) == (head_loss.KL_BYTES, head_loss.PIECE)
    assert costs.KL_ENTRY_BYTES == 4 * head_loss.KL_BUFFERS
