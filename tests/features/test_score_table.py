from __future__ import annotations

import json

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable, choices_array
from rankadaptor.proxies.rank_scores import build_score_table
from rankadaptor.search import allocate_by_scores
from rankadaptor.space import breed
from tests.space.shapes import build_linears
from tests.space.toy import make_space


@pytest.fixture
def space():
    return RankSpace.from_linears(build_linears(), like_uniform=4, slots="linear", ranks=(0, 1, 2, 4, 8, 12))


def draw_table(space, *, seed=0) -> ScoreTable:
    generator = np.random.default_rng(seed)
    terms = {
        module: np.sort(generator.exponential(size=12))[::-1].tolist()
        for slot in space.slots
        for module in slot.modules
    }
    return build_score_table("drawn", space, terms)


def test_scores_add_up_over_slots_and_come_back_from_json(space):
    table = draw_table(space)
    assert ScoreTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    allocations = space.sample(20, seed=0)
    by_hand = [
        sum(
            option_scores[options.index(label)]
            for options, option_scores, label in zip(
                table.options, table.option_scores, allocation.values, strict=True
            )
        )
        for allocation in allocations
    ]
    assert table.score(choices_array(allocations)) == pytest.approx(by_hand)


def test_modules_of_a_slot_are_summed_and_ranks_past_the_end_add_nothing():
    space = RankSpace.from_linears(build_linears(), like_uniform=4, slots="block", ranks=(0, 2, 4, 12))
    names = space.slots[0].modules
    terms = {module: [3.0, 2.0, 1.0] for slot in space.slots for module in slot.modules}
    table = build_score_table("drawn", space, terms)
    assert table.option_scores[0] == tuple(len(names) * worth for worth in (0.0, 5.0, 6.0, 6.0))


def test_faulty_tables_are_refused(space):
    table = draw_table(space)
    with pytest.raises(InputError, match="shape"):
        table.score([[1, 2]])
    with pytest.raises(InputError, match="options"):
        table.score([[6] * space.n_slots])
    with pytest.raises(InputError, match="not finite"):
        ScoreTable("x", space.digest, ((0, 1),), ((0.0, float("nan")),))
    with pytest.raises(InputError, match="missing"):
        build_score_table("x", space, {})
    with pytest.raises(InputError, match="schema"):
        ScoreTable.from_json({**table.to_json(), "schema": 9})


def test_dealing_out_beats_every_sample_and_uses_the_budget_up(space):
    table = draw_table(space)
    dealt = allocate_by_scores(space, table)
    best = table.score([dealt.choices])[0]
    assert space.contains(dealt.values)
    assert space.is_filled(dealt)
    assert best > table.score(space.sample_choices(3000, 1)).max()
    nearby = breed(space, np.array([dealt.choices]), count=500, seed=0)
    assert table.score(nearby).max() <= best


def test_dealing_out_keeps_pins_and_refuses_scores_of_another_space(space):
    pinned = RankSpace.from_linears(
        build_linears(), like_uniform=4, slots="block", ranks=(0, 1, 2, 4, 8), pinned={0: 8}
    )
    terms = {module: [1.0] * 8 for slot in pinned.slots for module in slot.modules}
    dealt = allocate_by_scores(pinned, build_score_table("flat", pinned, terms))
    assert dealt.values[0] == 8
    assert pinned.is_filled(dealt)
    with pytest.raises(InputError, match="belong to space"):
        allocate_by_scores(space, build_score_table("flat", pinned, terms))


def test_tables_of_schema_1_are_read_and_belong_where_their_options_do(space):
    """Their space is named by a digest that spaces no longer have."""
    table = draw_table(space)
    old = {**json.loads(json.dumps(table.to_json())), "schema": 1, "space": "20ea2cc40d525a75"}
    read = ScoreTable.from_json(old)
    read.check_space(space)
    choices = space.sample_choices(10, 1)
    assert (read.score(choices) == table.score(choices)).all()
    assert allocate_by_scores(space, read) == allocate_by_scores(space, table)
    other = RankSpace.from_linears(build_linears(), like_uniform=4, slots="linear", ranks=(0, 2, 4))
    with pytest.raises(InputError, match="belong to space of other options"):
        read.check_space(other)


def test_scores_of_another_component_need_one_limit():
    space = make_space()
    table = ScoreTable(
        "width", space.digest, tuple(slot.options for slot in space.slots),
        tuple(tuple(float(channels * bits) for channels, bits in slot.options) for slot in space.slots),
    )  # fmt: skip
    assert ScoreTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    with pytest.raises(InputError, match="exactly one limit"):
        allocate_by_scores(space, table)
