from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rankadaptor.components.adapter import (
    ADAPTER_PARAMETERS,
    DEFAULT_RANKS,
    RANK,
    RANKS,
    RankSpace,
    count_parameters,
    describe_budget,
    read_ranks,
)
from rankadaptor.components.adapter.ranks import make_rank_slot
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Slot, Space
from tests.space.shapes import build_linears

LINEARS = build_linears(6, pruned=(1, 2, 3, 4))
PER_RANK = sum(linear.in_features + linear.out_features for linear in LINEARS)


def cost_of(slot: Slot, rank: int) -> int:
    return slot.costs_in(ADAPTER_PARAMETERS)[slot.find_choice(rank)]


@pytest.mark.parametrize("slots", ["block", "half_block", "linear"])
@pytest.mark.parametrize("rank", [1, 5, 8, 11])
def test_like_uniform_costs_exactly_its_rank_everywhere(slots: str, rank: int) -> None:
    space = RankSpace.from_linears(LINEARS, like_uniform=rank, slots=slots)
    assert space.bounds[0] == rank * PER_RANK == space.reference().cost()
    assert space.n_slots == {"block": 6, "half_block": 12, "linear": 42}[slots]
    assert set(space.reference().values) == {rank}
    assert space.is_filled(space.reference())
    assert count_parameters(space, space.reference().values) == rank * PER_RANK


def test_a_rank_costs_less_in_a_pruned_block() -> None:
    space = RankSpace.from_linears(LINEARS, like_uniform=8, slots="block")
    intact, pruned = space.slots[0], space.slots[1]
    assert cost_of(intact, 8) > 1.5 * cost_of(pruned, 8)


def test_the_default_menu_has_zero_and_is_cut_to_each_slot() -> None:
    space = RankSpace.from_linears(LINEARS, like_uniform=7, slots="linear")
    by_name = {slot.name: slot for slot in space.slots}
    assert by_name["block0.q_proj"].options == tuple(
        sorted({rank for rank in DEFAULT_RANKS if rank <= 48} | {7})
    )
    assert by_name["block1.k_proj"].options[-1] == 12
    assert all(slot.options[0] == 0 for slot in space.slots)


def test_a_budget_is_what_the_largest_uniform_rank_within_it_takes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    space = RankSpace.from_linears(LINEARS, parameters=9 * PER_RANK + 5, slots="linear")
    assert space.bounds[0] == space.reference().cost() == 9 * PER_RANK
    assert set(space.reference().values) == {9}
    saved = RankSpace.from_linears(LINEARS, megabytes=9 * PER_RANK * 4 / 1e6, slots="linear")
    assert saved.bounds[0] == pytest.approx(9 * PER_RANK, abs=1)
    menu = RankSpace.from_linears(
        LINEARS, parameters=9 * PER_RANK + 5, ranks=(0, 2, 4, 8, 12), slots="linear"
    )
    assert set(menu.reference().values) == {8}
    assert menu.bounds[0] == menu.reference().cost() == 8 * PER_RANK
    assert f"lowered to {8 * PER_RANK:,}" in caplog.text
    assert f"With 9 among the ranks it is {9 * PER_RANK:,}" in caplog.text


def test_rank_sum_mode_of_the_paper() -> None:
    """32 blocks, 4..29 searched over {2..16}, the others pinned at 8, sum of ranks at most 256."""
    pinned = dict.fromkeys((0, 1, 2, 3, 30, 31), 8)
    space = RankSpace.from_linears(
        build_linears(32, pruned=tuple(range(4, 30))),
        like_uniform=8,
        slots="block",
        ranks=(2, 4, 6, 8, 10, 12),
        mode="rank_sum",
        pinned=pinned,
    )
    assert space.bounds[0] == 256 == space.reference().cost()
    assert describe_budget(space) == (256, "rank_sum")
    values = np.array(space.read_labels(space.sample_choices(200, 0)))
    assert (values[:, list(pinned)] == 8).all()
    assert (values.sum(axis=1) == 256).all()
    assert len(np.unique(values, axis=0)) > 150
    assert count_parameters(space, space.reference().values) != 256


def test_pinned_blocks_count_at_their_rank_and_need_not_be_in_the_menu() -> None:
    space = RankSpace.from_linears(
        LINEARS, like_uniform=4, slots="block", ranks=(0, 4, 8), pinned={0: 3, 5: 0}
    )
    assert space.reference().values == (3, 4, 4, 4, 4, 0)
    assert (
        space.bounds[0]
        == space.reference().cost()
        == cost_of(space.slots[0], 3) + sum(cost_of(slot, 4) for slot in space.slots[1:5])
    )
    above = RankSpace.from_linears(LINEARS, like_uniform=4, slots="block", ranks=(0, 2, 4, 8), pinned={0: 8})
    assert above.reference().values == (8, 2, 2, 2, 2, 2)
    assert above.contains(above.reference().values)


def test_blocks_outside_the_range_carry_no_adapter() -> None:
    space = RankSpace.from_linears(LINEARS, like_uniform=4, slots="block", blocks=(1, 4))
    assert [slot.block for slot in space.slots] == [1, 2, 3, 4]
    assert space.slots[0].attribute("depth") == pytest.approx(1 / 5)


def test_attributes_describe_the_slot() -> None:
    space = RankSpace.from_linears(
        LINEARS,
        like_uniform=4,
        slots="linear",
        attributes={1: {"removed_share": 0.4, "lost_importance": 0.1}},
    )
    slot = next(slot for slot in space.slots if slot.name == "block1.q_proj")
    assert slot.attribute("removed_share") == 0.4
    assert slot.attribute("in_features") == 48
    assert slot.attribute("out_features") == 24
    assert slot.attribute("absent", 7.0) == 7.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "0 budgets given"),
        ({"like_uniform": 4, "parameters": 10}, "2 budgets given"),
        ({"like_uniform": 0}, "like_uniform=0: allowed is a whole number of at least 1"),
        ({"like_uniform": 2.5}, "whole number"),
        ({"megabytes": -1.0}, "a number above 0"),
        ({"parameters": 10}, "no uniform rank fits, rank 1 costs"),
        (
            {"like_uniform": 13, "slots": "linear"},
            "like_uniform=13: slot .* allows at most 12",
        ),
        ({"like_uniform": 5, "ranks": (0, 4, 8)}, r"not among the ranks \(0, 4, 8\)\. Add 5"),
        ({"like_uniform": 4, "ranks": (0, 4, 64)}, "rank 64 .* allows at most 12, the smaller side"),
        ({"like_uniform": 4, "ranks": (-1, 4)}, "whole numbers ≥ 0"),
        ({"like_uniform": 4, "ranks": ()}, "at least one"),
        ({"parameters": 10**6, "mode": "rank_sum"}, "rank_sum"),
        ({"parameters": 10**6, "ranks": (0,)}, "only rank 0 is allowed"),
        ({"like_uniform": 1, "pinned": {0: 12}}, "no uniform rank fits"),
        ({"like_uniform": 4, "pinned": {0: 25}}, "block 0 allows ranks 0 to 24, the smaller side"),
        ({"like_uniform": 4, "pinned": {0: -1}}, "allows ranks 0 to"),
    ],
)
def test_unusable_budgets_say_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        RankSpace.from_linears(LINEARS, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": "layer"}, "allowed are block, half_block, linear"),
        ({"mode": "bytes"}, "allowed are parameters, rank_sum"),
        ({"blocks": (0, 6)}, "blocks 0 to 5"),
        ({"blocks": (3, 2)}, "both inclusive"),
        ({"pinned": {6: 4}}, "blocks 0 to 5"),
        ({"pinned": {0: 4}, "blocks": (1, 4)}, "blocks 1 to 4"),
        ({"pinned": dict.fromkeys(range(6), 4)}, "nothing to search"),
    ],
)
def test_unusable_arguments_say_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RankSpace.from_linears(LINEARS, like_uniform=4, **arguments)


def test_no_linears_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no linears"):
        RankSpace.from_linears([], like_uniform=4, slots="linear")


def test_a_budget_that_forbids_nothing_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        RankSpace.from_linears(LINEARS, like_uniform=4, ranks=(0, 2, 4), slots="linear")
    assert "nothing to search" in caplog.text


def test_numpy_ranks_are_ranks() -> None:
    space = RankSpace.from_linears(LINEARS, like_uniform=4, ranks=np.arange(9), slots="linear")
    assert space == RankSpace.from_linears(LINEARS, like_uniform=4, ranks=range(9), slots="linear")
    assert Space.from_json(space.to_json()) == space


def test_from_model_reads_linears_and_what_pruning_left(pico_model: Callable[..., Any]) -> None:
    model = pico_model("llama", 2)
    space = RankSpace.from_model(model, like_uniform=4, slots="linear")
    assert space.bounds[0] == 4 * 2 * (64 + 48 + 48 + 64 + 3 * 96)
    assert space.model == "llama"
    model.config.rankadaptor = {
        "schema": 1,
        "digest": "abc",
        "blocks": [{"block": 1, "removed_share": 0.25, "lost_importance": 0.125}],
    }
    pruned = RankSpace.from_model(model, like_uniform=4, slots="block")
    assert pruned.model == "llama, pruning abc"
    assert [slot.attribute("removed_share") for slot in pruned.slots] == [0.0, 0.25]
    assert [slot.attribute("lost_importance") for slot in pruned.slots] == [0.0, 0.125]
    stranger = SimpleNamespace(config=SimpleNamespace(model_type="mamba"))
    with pytest.raises(InputError, match="mamba"):
        RankSpace.from_model(stranger, like_uniform=4, slots="linear")


def test_pruning_and_space_agree(pico_model: Callable[..., Any], pico_tokenizer: Any) -> None:
    from rankadaptor.pruning import prune

    texts = ["The quick brown fox jumps over the lazy dog."] * 4
    model = pico_model("llama", 3)
    pruned = prune(
        model, pico_tokenizer, ratio=0.5, calibration=texts, skip_first=1, targets=("channels",), examples=2
    )
    space = RankSpace.from_model(pruned, like_uniform=4, slots="half_block")
    by_name = {slot.name: slot for slot in space.slots}
    assert cost_of(by_name["block1.mlp"], 4) < cost_of(by_name["block0.mlp"], 4)
    assert cost_of(by_name["block1.attention"], 4) == cost_of(by_name["block0.attention"], 4)
    assert by_name["block0.mlp"].attribute("removed_share") == 0
    assert by_name["block1.mlp"].attribute("removed_share") > 0
    modules = dict(pruned.named_modules())
    cost = sum(
        value * (modules[name].in_features + modules[name].out_features)
        for name, value in read_ranks(space.reference()).items()
    )
    assert cost == space.bounds[0]


SLOT = {
    "name": "s", "modules": ("a.q_proj", "a.k_proj"), "sizes": (0, 2, 4), "costs": (0, 20, 40),
    "limited": ADAPTER_PARAMETERS, "reference": 2, "block": 0, "kind": "a",
    "attributes": {"parameters_per_rank": 10.0},
}  # fmt: skip


def test_a_slot_of_ranks_counts_parameters_and_ranks_and_is_zero_at_uniform() -> None:
    slot = make_rank_slot(**SLOT)
    assert (slot.component, slot.options) == (RANK, (0, 2, 4))
    assert dict(slot.costs) == {ADAPTER_PARAMETERS: (0, 20, 40), RANKS: (0, 2, 4)}
    assert [vector for (vector,) in slot.coordinates] == pytest.approx([-np.log(3), 0.0, np.log(5 / 3)])
    assert slot.coordinates[1] == (0.0,)
    assert (slot.attribute("cost_per_unit"), slot.attribute("reference")) == (10.0, 2.0)
    assert make_rank_slot(**SLOT | {"pinned": 4}).pinned == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (4, 2, 0)}, "ranks .* distinct and ascending"),
        ({"sizes": (-1, 2, 4)}, "ranks .* distinct and ascending"),
        ({"sizes": (2, 2, 4)}, "distinct"),
        ({"costs": (0, 20, 20)}, "costs .* distinct and ascending"),
        ({"costs": (0, 20)}, "3 ranks and 2 costs"),
        ({"pinned": 3}, "pinned at 3; allowed are"),
    ],
)
def test_ranks_and_their_costs_must_rise(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_rank_slot(**SLOT | changes)
