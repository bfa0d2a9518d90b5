from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.errors import InputError
from rankadaptor.features import feature_names, log_ratios, rank_features, values_array
from rankadaptor.space import RankSpace, Space
from tests.space.shapes import SPACES, build_linears


@settings(max_examples=40, deadline=None)
@given(space=SPACES, depth=st.sampled_from(["blocks", "polynomial"]))
def test_uniform_is_the_zero_vector_and_columns_have_names(space: Space, depth: str) -> None:
    values = values_array([space.uniform(), *space.sample(5, seed=0)])
    features = rank_features(space, values, depth=depth)
    assert not features[0].any()
    assert np.isfinite(features).all()
    names = feature_names(space, depth=depth)
    assert features.shape == (len(values), len(names))
    assert len(set(names)) == len(names)


def test_columns_mean_what_their_names_say() -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4)
    names = feature_names(space)
    assert names[:3] == ["kind:down_proj", "kind:gate_proj", "kind:k_proj"]
    assert names[7:12] == ["half:attention", "half:mlp", "block:0", "block:1", "block:2"]
    assert names[12:] == ["total:mean", "total:cost", "total:lowest"]
    values = np.array([space.reference])
    v_proj = [index for index, slot in enumerate(space.slots) if slot.kind == "v_proj"]
    values[0, v_proj] = [8, 4, 0]
    row = dict(zip(names, rank_features(space, values)[0], strict=True))
    up, down = np.log(9 / 5), np.log(1 / 5)
    assert row["kind:v_proj"] == pytest.approx((up + down) / 3)
    assert row["kind:q_proj"] == 0
    assert row["half:attention"] == pytest.approx((up + down) / 12)
    assert row["half:mlp"] == 0
    assert row["block:0"] == pytest.approx(up / 7)
    assert row["block:2"] == pytest.approx(down / 7)
    assert row["total:mean"] == pytest.approx((up + down) / 21)
    assert row["total:cost"] == pytest.approx(space.cost(values[0].tolist()) / space.budget - 1)
    assert row["total:lowest"] == pytest.approx(1 / 21)


def test_depth_polynomial_has_as_many_columns_for_every_depth() -> None:
    names = [
        feature_names(RankSpace.from_linears(build_linears(blocks), like_uniform=4), depth="polynomial")
        for blocks in (3, 9)
    ]
    assert names[0] == names[1]
    space = RankSpace.from_linears(build_linears(9), like_uniform=4, slots="block")
    rising = np.array([[1, 2, 3, 4, 4, 4, 5, 6, 8]])
    row = dict(
        zip(
            feature_names(space, depth="polynomial"),
            rank_features(space, rising, depth="polynomial")[0],
            strict=True,
        )
    )
    assert row["depth:1"] > 0.1
    mirrored = rank_features(space, rising[:, ::-1], depth="polynomial")[0]
    assert mirrored[0] == pytest.approx(-row["depth:1"])


def test_log_ratios_are_concave_in_the_rank() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block")
    first, second, third = log_ratios(space, [[2, 4], [4, 4], [6, 4]])[:, 0]
    assert second - first > third - second > 0


def test_a_ridge_on_the_features_finds_where_rank_pays() -> None:
    """A made-up gain that depends on linear type and depth is ranked well on allocations left out."""
    space = RankSpace.from_linears(build_linears(8), like_uniform=8)
    values = space.sample_array(120, 0)
    worth = np.array([(slot.kind in ("v_proj", "down_proj")) + slot.block / 8 for slot in space.slots])
    gain = log_ratios(space, values) @ worth
    features = rank_features(space, values)
    train, left_out = slice(0, 80), slice(80, None)
    weights = np.linalg.solve(
        features[train].T @ features[train] + 1e-3 * np.eye(features.shape[1]),
        features[train].T @ gain[train],
    )
    predicted = features[left_out] @ weights
    assert np.corrcoef(predicted, gain[left_out])[0, 1] > 0.9


def test_values_array_takes_allocations_and_tuples() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block")
    assert values_array([space.uniform(), (1, 2)]).tolist() == [[4, 4], [1, 2]]
    assert values_array([]).shape == (0, 0)


def test_wrong_arguments_say_what_is_allowed() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block")
    with pytest.raises(InputError, match=r"allowed is \(n, 2\)"):
        rank_features(space, [[1, 2, 3]])
    with pytest.raises(InputError, match="blocks, polynomial"):
        rank_features(space, [[1, 2]], depth="log")
