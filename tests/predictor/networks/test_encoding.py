from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.predictor import Perceptron
from rankadaptor.predictor.networks.encoding import WIDTH, encode_choices
from tests.predictor.oracle import make_space


@pytest.mark.parametrize(("slots", "count"), [("block", 30), ("half_block", 60), ("linear", 210)])
def test_any_slots_become_257_inputs_with_uniform_at_zero(slots: str, count: int) -> None:
    space = make_space(blocks=30, slots=slots)
    inputs = encode_choices(space, np.array([space.origin, space.sample_choices(1, 0)[0]]))
    assert inputs.shape == (2, WIDTH + 1)
    assert (inputs[0, :-1] == 0).all()
    assert (inputs[1, count:-1] == 0).all()
    np.testing.assert_allclose(inputs[:, -1], count / WIDTH)


def test_inputs_are_of_one_size_for_few_slots_and_many() -> None:
    sizes = []
    for slots in ("block", "linear"):
        space = make_space(blocks=30, slots=slots)
        choices = np.array(space.find_choices([12] * space.n_slots))  # the same change everywhere
        sizes.append(np.linalg.norm(encode_choices(space, choices[None])[0, :-1]))
    assert sizes[0] == pytest.approx(sizes[1])


def test_too_many_slots_say_what_to_do() -> None:
    space = make_space(blocks=4)
    with pytest.raises(InputError, match=r"28 coordinates of slots.*at most 16.*half_block"):
        Perceptron(width=16).predict(space, space.sample(2, seed=0))
