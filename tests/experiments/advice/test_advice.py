"""The shipped table is made of the frontier's rows."""

from __future__ import annotations

from typing import Any

from experiments.advice.__main__ import RESULT, list_measured
from rankadaptor.files import read_json
from rankadaptor.planning.measured import MeasuredFile, read_measured


def make_row(
    method: str, kind: str, loss: float, *, size: int = 60, seconds: int | None = None
) -> dict[str, Any]:
    return {
        "setting": "kit:smollm2-135m", "run": "a", "method": method, "kind": kind, "recovered": True,
        "bytes": size, "parameters": 90 if kind == "ours" else 100, "loss_judging": loss, "loss_other": loss,
        "loss_dense_judging": 3.0, "loss_dense_other": 3.5, "tokens_trained": 10, "seconds": seconds,
    }  # fmt: skip


def test_a_table_holds_every_file_once_relative_to_the_whole_model():
    rows = [
        make_row("ours", "ours", 3.2, seconds=50),
        make_row("sequential Q4_0, recovered", "sequential", 3.2),  # chose the file of the search
        make_row("sequential Q5_0, recovered", "sequential", 3.3),
        make_row("taylor Q4_0, recovered", "baseline", 3.4),
        make_row("stock Q8_0", "stock", 3.0, size=150),
        make_row("stock Q8_0", "stock", 3.0, size=9) | {"setting": "other", "method": "stock Q4_0"},
    ]
    found = {row["method"]: MeasuredFile(**row) for row in list_measured(rows)}
    assert set(found) == {"compress", "sequential Q5_0, recovered", "taylor Q4_0, recovered", "stock Q8_0"}
    ours = found["compress"]
    assert (ours.kind, ours.seconds, ours.size, ours.parameters) == ("searched", 50, 0.4, 100)
    assert ours.mean_excess == 0.5 * (0.2 - 0.3)
    assert found["sequential Q5_0, recovered"].seconds == 50  # widths and types are searched too
    assert (found["taylor Q4_0, recovered"].kind, found["stock Q8_0"].seconds) == ("rule", None)


def test_the_kept_rows_make_a_table():
    assert list_measured(read_json(RESULT))
    assert all(0 < file.size <= 1 for file in read_measured())
