from __future__ import annotations

import json

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable, build_score_table
from rankadaptor.search import allocate_by_scores
from rankadaptor.search.candidates import breed
from rankadaptor.space import RankSpace
from tests.space.shapes import build_linears


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
    values = space.sample_array(20, 0)
    by_hand = [
        sum(
            worths[options.index(v)]
            for options, worths, v in zip(table.options, table.worths, row, strict=True)
        )
        for row in values.tolist()
    ]
    assert table.score(values) == pytest.approx(by_hand)


def test_modules_of_a_slot_are_summed_and_ranks_past_the_end_add_nothing():
    space = RankSpace.from_linears(build_linears(), like_uniform=4, slots="block", ranks=(0, 2, 4, 12))
    names = space.slots[0].modules
    terms = {module: [3.0, 2.0, 1.0] for slot in space.slots for module in slot.modules}
    table = build_score_table("drawn", space, terms)
    assert table.worths[0] == tuple(len(names) * worth for worth in (0.0, 5.0, 6.0, 6.0))


def test_faulty_tables_are_refused(space):
    table = draw_table(space)
    with pytest.raises(InputError, match="shape"):
        table.score([[1, 2]])
    with pytest.raises(InputError, match="options"):
        table.score([[3] * space.n_slots])
    with pytest.raises(InputError, match="not finite"):
        ScoreTable("x", space.digest, ((0, 1),), ((0.0, float("nan")),))
    with pytest.raises(InputError, match="missing"):
        build_score_table("x", space, {})
    with pytest.raises(InputError, match="schema"):
        ScoreTable.from_json({**table.to_json(), "schema": 9})


def test_dealing_out_beats_every_sample_and_uses_the_budget_up(space):
    table = draw_table(space)
    dealt = allocate_by_scores(space, table)
    best = table.score([dealt.values])[0]
    assert space.contains(dealt.values)
    assert space.is_filled(dealt.values)
    assert best > table.score(space.sample_array(3000, 1)).max()
    nearby = breed(space, np.array([dealt.values]), count=500, seed=0)
    assert table.score(nearby).max() <= best


def test_dealing_out_keeps_pins_and_refuses_scores_of_another_space(space):
    pinned = RankSpace.from_linears(
        build_linears(), like_uniform=4, slots="block", ranks=(0, 1, 2, 4, 8), pinned={0: 8}
    )
    terms = {module: [1.0] * 8 for slot in pinned.slots for module in slot.modules}
    dealt = allocate_by_scores(pinned, build_score_table("flat", pinned, terms))
    assert dealt.values[0] == 8
    assert pinned.is_filled(dealt.values)
    with pytest.raises(InputError, match="belong to space"):
        allocate_by_scores(space, build_score_table("flat", pinned, terms))
