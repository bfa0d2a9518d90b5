"""Speed of slice scores against plain forward passes, and what shared hidden states save in a sweep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.measure import SliceScore
from rankadaptor.space import Allocation, Space

if TYPE_CHECKING:
    from rankadaptor.data import TokenSequence
    from rankadaptor.runtime import Compute

TYPES = ("Q8_0", "Q4_0")
BATCH_TOKENS = 512
Row = dict[str, Any]


def measure_speed(
    model: Any, tokenizer: Any, sequences: Sequence[TokenSequence], *, compute: Compute, rounds: int
) -> Row:
    """Measure tokens per second of scores and of plain passes of the dense model with its logits, in turn.

    The allocations are of full width but for one option of one slot; their copies of weights are made before.
    """
    live, space = LiveModel(model), build_space(model, precision=TYPES, tokenizer=tokenizer)
    score = SliceScore(live, sequences, compute=compute, batch_tokens=BATCH_TOKENS, memory=0)
    score(space.reference())  # the dense model's own pass
    allocations = list_single_changes(space)[-rounds:]
    ids = torch.tensor([sequence.input_ids for sequence in sequences])
    plain, slices = [], []
    for allocation in allocations:
        with live.applied(allocation):
            pass
        plain.append(ids.numel() / time_once(lambda: run_plain(model, ids)))
        slices.append(ids.numel() / time_once(lambda chosen=allocation: score(chosen)))
    return {
        "part": "speed",
        "rounds": rounds,
        "plain_tokens_per_second": round(statistics.median(plain), 1),
        "slice_tokens_per_second": round(statistics.median(slices), 1),
        "ratio": statistics.median(one / other for one, other in zip(slices, plain, strict=True)),
    }


def measure_reuse(model: Any, tokenizer: Any, sequences: Sequence[TokenSequence], *, compute: Compute) -> Row:
    """Measure a sweep of one change in every slot, with hidden states that are shared and without."""
    live, space = LiveModel(model), build_space(model, precision=TYPES, tokenizer=tokenizer)
    allocations = list_single_changes(space)
    for allocation in allocations:
        with live.applied(allocation):
            pass
    seconds, tokens, scores = {}, {}, {}
    for name, memory in (("alone", 0), ("shared", 1 << 30)):
        score = SliceScore(live, sequences, compute=compute, batch_tokens=BATCH_TOKENS, memory=memory)
        begun = time.perf_counter()
        records = score.measure(allocations)
        seconds[name] = time.perf_counter() - begun
        tokens[name] = sum(record.tokens for record in records)
        scores[name] = [record.kl for record in records]
    return {
        "part": "reuse",
        "scores": len(allocations),
        "equal": scores["alone"] == scores["shared"],
        "seconds_alone": round(seconds["alone"], 2),
        "seconds_shared": round(seconds["shared"], 2),
        "ratio": seconds["alone"] / seconds["shared"],
        "bound": tokens["alone"] / tokens["shared"],
    }


def list_single_changes(space: Space) -> list[Allocation]:
    """Return an allocation for every searchable slot: it alone takes the smallest type, at full width."""
    found = []
    for index in space.tables.searchable.tolist():
        slot, choices = space.slots[index], list(space.origin)
        label = slot.options[choices[index]]
        other = (label[0], TYPES[-1]) if isinstance(label, tuple) else TYPES[-1]
        choices[index] = slot.options.index(other)
        found.append(Allocation(tuple(choices), space))
    return found


def run_plain(model: Any, ids: torch.Tensor) -> None:
    """Pass sequences through the model and compute all logits."""
    with torch.no_grad():
        for rows in torch.split(ids, max(BATCH_TOKENS // ids.shape[1], 1)):
            model(input_ids=rows, use_cache=False)


def time_once(function: Any) -> float:
    """Return the seconds of a call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
