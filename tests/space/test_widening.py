from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.space import RankSpace, Space, widen_space
from tests.space.shapes import build_linears


@pytest.fixture(scope="module")
def ranks() -> RankSpace:
    return RankSpace.from_linears(build_linears(6), like_uniform=4)


def test_scales_cost_nothing_and_ranks_keep_their_budget(ranks: RankSpace) -> None:
    space = widen_space(ranks)
    assert [slot.role for slot in space.slots].count("scale") == 7 + 3
    assert space.cost(space.reference) == ranks.cost(ranks.reference)
    drawn = space.sample_array(300, 0)
    assert (space.cost_array(drawn) <= space.budget).all()
    assert all(space.contains(row) for row in drawn[:30].tolist())
    first, scales = drawn[:, : ranks.n_slots], drawn[:, ranks.n_slots :]
    resting = (scales == 100).all(axis=1)
    assert 0.1 < resting.mean() < 0.7  # some rows move ranks alone
    assert ((first == 4).all(axis=1) & ~resting).any()  # some scales alone
    assert (scales < 100).any()
    assert (scales > 100).any()


def test_a_module_s_factor_is_that_of_its_type_times_that_of_its_depth(ranks: RankSpace) -> None:
    space = widen_space(ranks)
    assert set(space.uniform().scale_factors().values()) == {1.0}
    values = np.array(space.reference)
    names = [slot.name for slot in space.slots]
    values[names.index("scale.v_proj")] = 200
    values[names.index("scale.third1")] = 50
    allocation = space.allocation(values.tolist())
    factors = allocation.scale_factors()
    assert factors["model.layers.0.self_attn.v_proj"] == pytest.approx(1.0)
    assert factors["model.layers.5.self_attn.v_proj"] == pytest.approx(2.0)
    assert factors["model.layers.0.mlp.up_proj"] == pytest.approx(0.5)
    assert set(allocation.by_module()) == set(ranks.uniform().by_module())


def test_held_ranks_stay_and_json_goes_round(ranks: RankSpace) -> None:
    held = widen_space(ranks, pin_ranks=True)
    drawn = held.sample_array(50, 0)
    assert (drawn[:, : ranks.n_slots] == 4).all()
    assert (drawn[:, ranks.n_slots :] != 100).any()
    again = Space.from_json(held.to_json())
    assert again == held
    assert [slot.role for slot in again.slots] == [slot.role for slot in held.slots]
    assert "role" not in ranks.to_json()["slots"][0]  # digests of spaces of ranks stay as they were


def test_wrong_arguments_are_named(ranks: RankSpace) -> None:
    with pytest.raises(InputError, match="100"):
        widen_space(ranks, scales=(50, 200))
    with pytest.raises(InputError, match="already"):
        widen_space(widen_space(ranks))
