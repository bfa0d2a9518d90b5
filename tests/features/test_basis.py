"""Basis functions are zero at uniform, and nothing counts as emptied where uniform has a single rank."""

from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.features import BASIS, tabulate_basis
from tests.space.shapes import build_linears


@pytest.mark.parametrize("uniform", [1, 2, 8])
def test_basis_functions_are_zero_at_uniform_and_fall_below_it(uniform: int) -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=uniform, slots="linear")
    tables = tabulate_basis(space)
    assert tables.shape[:2] == (len(BASIS), space.n_slots)
    options = list(space.slots[0].options)
    assert np.array_equal(tables[:, :, options.index(uniform)], np.zeros(tables.shape[:2]))
    nothing = dict(zip(BASIS, tables[:, 0, options.index(0)], strict=True))
    assert nothing["log"] == nothing["less"] == pytest.approx(-np.log1p(uniform))
    assert nothing["bend"] == pytest.approx(np.log1p(uniform) ** 2)
    assert nothing["emptied"] == (1.0 if uniform > 1 else 0.0)
    assert tables[BASIS.index("emptied"), :, options.index(uniform) + 1 :].max() == 0.0
