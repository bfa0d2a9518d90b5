from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from rankadaptor.features import SLOT_FEATURES, slot_features
from rankadaptor.space import RankSpace, Space
from tests.space.shapes import SPACES, build_linears


@settings(max_examples=40, deadline=None)
@given(space=SPACES)
def test_every_space_gives_the_same_finite_columns(space: Space) -> None:
    features = slot_features(space)
    assert features.shape == (space.n_slots, len(SLOT_FEATURES))
    assert np.isfinite(features).all()


def test_columns_mean_what_their_names_say() -> None:
    space = RankSpace.from_linears(
        build_linears(3),
        like_uniform=4,
        pinned={0: 4},
        attributes={1: {"removed_share": 0.4, "lost_importance": 0.1}},
    )
    rows = slot_features(space)
    by_name = {
        slot.name: dict(zip(SLOT_FEATURES, row, strict=True))
        for slot, row in zip(space.slots, rows, strict=True)
    }
    first, pruned = by_name["block0.q_proj"], by_name["block1.down_proj"]
    assert (first["depth"], pruned["depth"], by_name["block2.v_proj"]["depth"]) == (-1, 0, 1)
    assert (first["attention"], first["mlp"], pruned["attention"], pruned["mlp"]) == (1, 0, 0, 1)
    assert first["kind:q_proj"] == 1
    assert sum(value for name, value in pruned.items() if name.startswith("kind:")) == 1
    assert (first["pinned"], pruned["pinned"]) == (1, 0)
    assert (first["removed_share"], pruned["removed_share"], pruned["lost_importance"]) == (0, 0.4, 0.1)
    assert np.isclose(rows[:, SLOT_FEATURES.index("cost_share")].mean(), 0)


def test_whole_blocks_belong_to_both_halves() -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block")
    rows = slot_features(space)
    assert (rows[:, SLOT_FEATURES.index("attention")] == 0.5).all()
    assert (rows[:, SLOT_FEATURES.index("mlp")] == 0.5).all()
