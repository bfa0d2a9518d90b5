from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import InputError
from rankadaptor.features import choices_array, feature_names, mean_features, read_coordinates
from rankadaptor.space import Space
from tests.space.shapes import SPACES, build_linears
from tests.space.toy import make_space


@settings(max_examples=40, deadline=None)
@given(space=SPACES, depth=st.sampled_from(["blocks", "polynomial"]))
def test_uniform_is_the_zero_vector_and_columns_have_names(space: Space, depth: str) -> None:
    choices = choices_array([space.reference(), *space.sample(5, seed=0)])
    features = mean_features(space, choices, depth=depth)
    assert not features[0].any()
    assert np.isfinite(features).all()
    names = feature_names(space, depth=depth)
    assert features.shape == (len(choices), len(names))
    assert len(set(names)) == len(names)


def test_columns_mean_what_their_names_say() -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="linear")
    names = feature_names(space)
    assert names[:3] == ["kind:down_proj", "kind:gate_proj", "kind:k_proj"]
    assert names[7:12] == ["half:attention", "half:mlp", "block:0", "block:1", "block:2"]
    assert names[12:] == ["total:mean", "total:cost", "total:lowest"]
    values = np.array([space.reference().values])
    v_proj = [index for index, slot in enumerate(space.slots) if slot.kind == "v_proj"]
    values[0, v_proj] = [8, 4, 0]
    choices = [space.find_choices(row) for row in values.tolist()]
    row = dict(zip(names, mean_features(space, choices)[0], strict=True))
    up, down = np.log(9 / 5), np.log(1 / 5)
    assert row["kind:v_proj"] == pytest.approx((up + down) / 3)
    assert row["kind:q_proj"] == 0
    assert row["half:attention"] == pytest.approx((up + down) / 12)
    assert row["half:mlp"] == 0
    assert row["block:0"] == pytest.approx(up / 7)
    assert row["block:2"] == pytest.approx(down / 7)
    assert row["total:mean"] == pytest.approx((up + down) / 21)
    assert row["total:cost"] == pytest.approx(
        space.sum_costs(choices, "adapter_parameters")[0] / space.bounds[0] - 1
    )
    assert row["total:lowest"] == pytest.approx(1 / 21)


def test_depth_polynomial_has_as_many_columns_for_every_depth() -> None:
    names = [
        feature_names(
            RankSpace.from_linears(build_linears(blocks), like_uniform=4, slots="linear"), depth="polynomial"
        )
        for blocks in (3, 9)
    ]
    assert names[0] == names[1]
    space = RankSpace.from_linears(build_linears(9), like_uniform=4, slots="block")
    rising = np.array([space.find_choices((1, 2, 3, 4, 4, 4, 5, 6, 8))])
    row = dict(
        zip(
            feature_names(space, depth="polynomial"),
            mean_features(space, rising, depth="polynomial")[0],
            strict=True,
        )
    )
    assert row["depth:1"] > 0.1
    mirrored = mean_features(space, rising[:, ::-1], depth="polynomial")[0]
    assert mirrored[0] == pytest.approx(-row["depth:1"])


def test_coordinates_are_concave_in_the_rank() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block")
    choices = [space.find_choices(values) for values in ((2, 4), (4, 4), (6, 4))]
    first, second, third = read_coordinates(space, choices)[:, 0]
    assert second - first > third - second > 0


def test_a_ridge_on_the_features_finds_where_rank_pays() -> None:
    """A made-up gain that depends on linear type and depth is ranked well on allocations left out."""
    space = RankSpace.from_linears(build_linears(8), like_uniform=8, slots="linear")
    choices = space.sample_choices(120, 0)
    worth = np.array([(slot.kind in ("v_proj", "down_proj")) + slot.block / 8 for slot in space.slots])
    gain = read_coordinates(space, choices) @ worth
    features = mean_features(space, choices)
    train, left_out = slice(0, 80), slice(80, None)
    weights = np.linalg.solve(
        features[train].T @ features[train] + 1e-3 * np.eye(features.shape[1]),
        features[train].T @ gain[train],
    )
    predicted = features[left_out] @ weights
    assert np.corrcoef(predicted, gain[left_out])[0, 1] > 0.9


def test_choices_of_allocations_and_every_coordinate_of_a_slot() -> None:
    space = make_space(blocks=3)
    allocations = space.sample(4, seed=0)
    choices = choices_array(allocations)
    assert choices.tolist() == [list(allocation.choices) for allocation in allocations]
    coordinates = read_coordinates(space, choices)
    assert coordinates.shape == (4, 2 * space.n_slots)
    channels, bits = np.split(coordinates, 2, axis=1)
    for row, allocation in enumerate(allocations):
        labels = np.array(allocation.values)
        np.testing.assert_allclose(channels[row], np.log(labels[:, 0] / 128))
        np.testing.assert_allclose(bits[row], np.log(labels[:, 1] / 8))
    names = feature_names(space)
    assert mean_features(space, choices).shape == (4, len(names))
    assert len(set(names)) == len(names)
    assert choices_array([]).shape == (0, 0)


def test_wrong_arguments_say_what_is_allowed() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block")
    with pytest.raises(InputError, match=r"allowed is \(n, 2\)"):
        mean_features(space, [[1, 2, 3]])
    with pytest.raises(InputError, match="row 1, slot 'block0': option number 99"):
        mean_features(space, [[1, 2], [99, 0]])
    with pytest.raises(InputError, match="blocks, polynomial"):
        mean_features(space, [[1, 2]], depth="log")
