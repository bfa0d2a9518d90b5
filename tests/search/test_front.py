from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import InputError
from rankadaptor.features import choices_array
from rankadaptor.predictor import Prediction
from rankadaptor.search import find_front
from tests.predictor.oracle import Oracle, make_oracle, make_space


@dataclass(frozen=True)
class Truth:
    """A predictor that knows the oracle."""

    oracle: Oracle
    name: str = "truth"
    pretrained: bool = True

    def predict(self, space, values):
        rows = np.asarray([getattr(each, "choices", each) for each in values])
        return Prediction(self.oracle.true_gains(rows), np.full(len(rows), 0.001))

    def update(self, space, records):
        return self


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=3)


def test_the_front_is_inside_ordered_and_beats_smaller_uniforms(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=0)
    front = find_front(space, Truth(oracle), seed=1, generations=40)
    assert (np.diff(front.costs) > 0).all()
    assert (np.diff(front.predicted) > 0).all()
    assert front.costs[-1] <= space.bounds[0]
    assert all(space.contains(allocation.values) for allocation in front.allocations)
    assert front.predicted[-1] > 0
    for rank in (2, 3):
        smaller = space.allocation([rank] * space.n_slots)
        found = front.allocations[int((front.costs <= smaller.cost()).sum()) - 1]
        better, worse = oracle.true_gains(choices_array([found, smaller]))
        assert better > worse
    assert front.costs[front.predicted >= 0][0] < space.bounds[0]


def test_the_front_repeats_and_takes_part_what_is_given(space: RankSpace) -> None:
    truth = Truth(make_oracle(space, seed=2))
    once, again = (find_front(space, truth, seed=3, generations=5, population=20) for _ in range(2))
    assert once.to_json() == again.to_json()
    best = find_front(space, truth, seed=4, generations=40).allocations[-1]
    helped = find_front(space, truth, seed=3, generations=5, population=20, start=[best])
    assert helped.predicted[-1] >= truth.predict(space, [best]).mean[0] - 0.001 * 0
    assert find_front(space, truth, seed=3, generations=2, caution=1.0).predicted.max() < helped.predicted[-1]


def test_wrong_arguments_are_named(space: RankSpace) -> None:
    truth = Truth(make_oracle(space, seed=0))
    with pytest.raises(InputError, match="at least 4"):
        find_front(space, truth, seed=0, population=2)
    other = make_space(blocks=2)
    with pytest.raises(InputError, match="another space"):
        find_front(space, truth, seed=0, start=[other.reference()])
