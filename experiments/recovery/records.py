"""The record file of a study: one line per finished training, and the models that they began from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.recovery.training import Record, Training
from rankadaptor.corpus.lines import append_json, read_lines
from rankadaptor.files import lock_folder, read_json, write_json

FOLDER = Path(__file__).parent / "records"


class Records:
    """All trainings of a study, on disk before the next one starts.

    Several processes may append to the same file.

    Args:
        name: Name of the study.
        folder: Where the files lie.
    """

    def __init__(self, name: str, *, folder: Path = FOLDER) -> None:
        self.path = folder / f"{name}.jsonl"
        self._models = folder / f"{name}-models.json"

    def read(self) -> list[Record]:
        """Return all records."""
        return [Record.from_json(line) for _, line in read_lines(self.path)]

    def append(self, record: Record) -> None:
        """Write one record."""
        append_json(self.path, record.to_json())

    def read_models(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each model by its name: parameters, digest, losses before recovery."""
        return dict(read_json(self._models)) if self._models.exists() else {}

    def keep_model(self, name: str, description: dict[str, Any]) -> None:
        """Write what is known of one model."""
        with lock_folder(self._models.parent):
            write_json(self._models, {**self.read_models(), name: description})


def index_records(records: list[Record]) -> dict[Training, Record]:
    """Return the record of each training; the first where several processes made one."""
    found: dict[Training, Record] = {}
    for record in records:
        found.setdefault(record.training, record)
    return found
