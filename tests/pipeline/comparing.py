"""What two equal runs have in common: all but the durations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rankadaptor.corpus import RecordFile


def strip_result(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what may differ between two equal runs: durations."""
    result: dict[str, Any] = json.loads(json.dumps(document["result"]))
    result.pop("cost")
    for key in ("tokens_per_second_before", "tokens_per_second_after"):
        result["pruning"].pop(key)
    for trial in result["tuning"]:
        trial.pop("seconds")
    for outcome in result["recovered"].values():
        outcome.pop("seconds")
    return result


def read_records(folder: Path) -> list[tuple[Any, ...]]:
    """Return what each record of a run measured, in an order of its own."""
    return sorted(
        (record.values, record.seed, record.steps, record.status, record.loss, record.loss_reference)
        for record in RecordFile(folder / "records.jsonl").records
    )
