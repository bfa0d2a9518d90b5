from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.corpus import Record
from rankadaptor.errors import InputError
from tests.corpus.measured import build_record

FINITE = st.floats(0, 100, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 64), min_size=1).map(tuple),
    seed=st.integers(0, 2**31),
    loss=FINITE,
    uniform=FINITE,
    losses=st.none() | st.lists(FINITE, max_size=5).map(tuple),
)
def test_round_trip_is_exact(
    values: tuple[int, ...], seed: int, loss: float, uniform: float, losses: tuple[float, ...] | None
) -> None:
    record = build_record(
        values=values, seed=seed, loss=loss, loss_uniform=uniform, sequence_losses=losses, created="2025"
    )
    assert Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record
    assert record.gain == uniform - loss


def test_a_failed_record_has_no_gain_and_no_nan() -> None:
    record = build_record(status="failed", loss=float("nan"), error="loss became NaN at step 3")
    assert record.gain is None
    assert record.loss is None
    assert "NaN" not in json.dumps(record.to_json()).replace(record.error, "")
    assert Record.from_json(record.to_json()) == record


def test_a_record_that_is_ok_has_finite_losses() -> None:
    with pytest.raises(InputError, match="status='failed'"):
        build_record(loss=float("inf"))
    with pytest.raises(InputError, match="allowed are ok, failed"):
        build_record(status="fine")


def test_numpy_values_become_plain_integers() -> None:
    record = build_record(values=np.array([1, 2, 3]), seed=np.int64(3), steps=np.int32(4))
    assert (record.values, record.seed, record.steps) == ((1, 2, 3), 3, 4)
    json.dumps(record.to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"schema": None}, "schema None"),
        ({"note": "x"}, r"unknown fields \['note'\]"),
        ({"seed": 0.5}, "seed=0.5: must be a whole number"),
        ({"loss": "4"}, "loss='4': must be a number"),
        ({"values": [1.5]}, "list of whole numbers"),
        ({"values": "12"}, "list of whole numbers"),
        ({"sequence_losses": "??"}, "base64"),
        ({"steps": -1}, "must be ≥ 0"),
    ],
)
def test_faulty_fields_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Record.from_json(build_record().to_json() | change)


def test_missing_fields_are_named() -> None:
    data = build_record().to_json()
    del data["tokens"]
    with pytest.raises(InputError, match=r"fields \['tokens'\] are missing"):
        Record.from_json(data)
    with pytest.raises(InputError, match="not an object"):
        Record.from_json([1])
