"""A recovery curve says where it flattens, and whether allocations were compared there."""

from __future__ import annotations

import dataclasses

import pytest

from experiments.evidence.curves import RecoveryCurve

CURVE = RecoveryCurve(
    steps=(1, 2, 4, 8),
    tokens=(100, 200, 400, 800),
    losses=(5.0, 4.5, 4.05, 4.0),
    pruned_loss=6.0,
    last_doubling=0.025,
)


def test_a_length_is_set_beside_the_best_of_the_curve() -> None:
    assert CURVE.measure_reached(100) == pytest.approx(0.5)
    assert CURVE.measure_reached(800) == pytest.approx(1.0)
    assert 0.75 < CURVE.measure_reached(300) < 0.975  # between two lengths, over the logarithm
    assert CURVE.measure_reached(50) is None
    assert CURVE.measure_reached(900) is None


def test_a_length_is_at_the_end_only_of_a_curve_that_flattens() -> None:
    assert CURVE.flattened
    assert CURVE.flattened_at(400)
    assert not CURVE.flattened_at(200)
    assert not dataclasses.replace(CURVE, last_doubling=0.2).flattened_at(800)
    assert not dataclasses.replace(CURVE, last_doubling=None).flattened_at(800)


def test_nothing_is_said_where_nothing_is_recovered() -> None:
    assert dataclasses.replace(CURVE, pruned_loss=3.0).measure_reached(400) is None
    assert dataclasses.replace(CURVE, pruned_loss=None).measure_reached(400) is None
