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
        values=values, seed=seed, loss=loss, loss_reference=uniform, sequence_losses=losses, created="2025"
    )
    assert Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record
    assert record.gain == uniform - loss


def test_a_failed_record_has_no_gain_and_no_nan() -> None:
    record = build_record(status="failed", loss=float("nan"), error="loss became NaN at step 3")
    assert record.gain is None
    assert record.loss is None
    assert dict(record.metrics) == {"loss_reference": 4.2}
    assert "NaN" not in json.dumps(record.to_json()).replace(record.error, "")
    assert Record.from_json(record.to_json()) == record


def test_a_record_that_is_ok_has_finite_losses() -> None:
    with pytest.raises(InputError, match="status='failed'"):
        build_record(loss=float("inf"))
    with pytest.raises(InputError, match="allowed are ok, failed"):
        build_record(status="fine")


def test_numpy_values_become_plain_integers() -> None:
    record = build_record(
        values=np.array([1, 2, 3]), seed=np.int64(3), steps=np.int32(4), parameters=np.int64(7)
    )
    assert (record.values, record.seed, record.steps, record.parameters) == ((1, 2, 3), 3, 4, 7)
    json.dumps(record.to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "schema 3, this version reads 1 and 2"),
        ({"schema": None}, "schema None"),
        ({"note": "x"}, r"unknown fields \['note'\]"),
        ({"seed": 0.5}, "seed=0.5: must be a whole number"),
        ({"setting": 7}, "setting=7: must be text"),
        ({"fidelity": None}, "fidelity=None: must be a number"),
        ({"metrics": {"loss": "4"}}, "metrics=.*: must be numbers by name"),
        ({"metrics": [4.0]}, "metrics=.*: must be numbers by name"),
        ({"metrics": {"loss": 4.0}}, "loss_reference=None: a record that is ok has both"),
        ({"costs": {"tokens": None}}, "costs=.*: must be numbers by name"),
        ({"source": "guess"}, "source='guess': allowed are slice, short, full"),
        ({"values": [1.5]}, "option 1.5: allowed are whole numbers"),
        ({"values": "12"}, "list of labels"),
        ({"sequence_losses": "??"}, "base64"),
        ({"steps": -1}, "must be ≥ 0"),
    ],
)
def test_faulty_fields_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Record.from_json(build_record().to_json() | change)


def test_missing_fields_are_named() -> None:
    data = build_record().to_json()
    del data["metrics"]
    with pytest.raises(InputError, match=r"fields \['metrics'\] are missing"):
        Record.from_json(data)
    with pytest.raises(InputError, match="not an object"):
        Record.from_json([1])


def test_a_fine_tune_names_its_source_metrics_and_costs() -> None:
    short, full = build_record(), build_record(fidelity=1.0)
    assert (short.source, full.source) == ("short", "full")
    assert dict(short.metrics) == {"loss": 4.19, "loss_reference": 4.2}
    assert dict(short.costs) == {"adapter_parameters": 1000, "tokens": 24_576, "seconds": 61.5}
    assert (short.parameters, short.tokens, short.seconds) == (1000, 24_576, 61.5)
    assert short.key != full.key


def test_a_slice_with_labels_of_any_kind_goes_round() -> None:
    record = Record(
        setting="s", values=((64, "q8_0"), "dense", 3), source="slice", seed=0, steps=0, fidelity=0.0,
        metrics={"loss": 3.5, "loss_reference": 3.0, "kl": 0.25}, costs={"bytes": 10**9, "seconds": 0.5},
    )  # fmt: skip
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert (record.kl, record.gain, record.parameters) == (0.25, -0.25, 0)


OLD = {
    "schema": 1, "setting": "pico-third", "values": [4, 4, 4], "seed": 0, "steps": 24, "fidelity": 0.24,
    "loss": 4.19, "loss_uniform": 4.2, "parameters": 1000, "tokens": 24_576, "seconds": 61.5,
    "status": "ok", "error": None, "commit": "abc", "created": "2025-01-02T03:04:05+00:00",
}  # fmt: skip


def test_records_of_schema_1_are_read() -> None:
    assert Record.from_json(OLD) == build_record()
    failed = OLD | {"loss": None, "status": "failed", "error": "out of memory"}
    assert Record.from_json(failed) == build_record(loss=None, status="failed", error="out of memory")
    assert Record.from_json(OLD | {"fidelity": 1.0}).source == "full"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"note": "x"}, r"unknown fields \['note'\]"),
        ({"seed": 0.5}, "seed=0.5: must be a whole number"),
        ({"loss": "4"}, "loss='4': must be a number"),
        ({"loss_uniform": None}, "loss_reference=None: a record that is ok has both"),
        ({"tokens": 1.5}, "tokens=1.5: must be a whole number"),
        ({"seconds": None}, "seconds=None: must be a number"),
        ({"values": [1.5]}, "list of whole numbers"),
        ({"values": "12"}, "list of whole numbers"),
        ({"sequence_losses": "??"}, "base64"),
        ({"steps": -1}, "must be ≥ 0"),
    ],
)
def test_faulty_fields_of_schema_1_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Record.from_json(OLD | change)
    with pytest.raises(InputError, match=r"fields \['tokens'\] are missing"):
        Record.from_json({key: value for key, value in OLD.items() if key != "tokens"})
