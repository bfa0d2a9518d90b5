"""Training and held-out rows never meet, whatever the file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankadaptor.config import build_run
from rankadaptor.errors import InputError
from rankadaptor.pipeline.data_split import split_data


def _write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_one_source_is_split_without_overlap(tmp_path: Path) -> None:
    source = _write(tmp_path / "rows.jsonl", [f"row {number}" for number in range(40)])
    config = build_run({"data": {"train": source, "train_rows": None, "held_out_rows": 10}})
    train, held_out = split_data(config).load()
    assert len(held_out) == 10
    assert len(train) == 30
    assert not set(train) & set(held_out)


def test_duplicates_of_held_out_rows_are_dropped(tmp_path: Path) -> None:
    train_file = _write(tmp_path / "train.jsonl", ["shared", "own", "shared"])
    held_file = _write(tmp_path / "held.jsonl", ["shared"])
    config = build_run({"data": {"train": train_file, "held_out": held_file, "held_out_rows": 1}})
    train, _ = split_data(config).load()
    assert [row.response for row in train] == ["own"]


def test_nothing_left_to_train_on_is_said(tmp_path: Path) -> None:
    source = _write(tmp_path / "rows.jsonl", ["same", "same"])
    config = build_run({"data": {"train": source, "held_out_rows": 1}})
    with pytest.raises(InputError, match="held_out_rows"):
        split_data(config).load()
