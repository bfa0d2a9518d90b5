"""The records of one run in one file: a resumed run reads it and measures only what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankadaptor.corpus.lines import append_locked, lock_file, read_lines
from rankadaptor.corpus.record import Record
from rankadaptor.errors import CorpusError, InputError
from rankadaptor.space import Label


class RecordFile:
    """An append-only file of records, one JSON object a line.

    Each record is on disk before `append` returns. A line cut off by a crash is dropped, and its measurement
    is repeated.

    Attributes:
        path: The file; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the existing records.

        Raises:
            CorpusError: If a line is not a record; the message names file and line.
        """
        self.path = Path(path)
        self._size = 0
        self._read()

    @property
    def records(self) -> list[Record]:
        """All records in the order they were measured."""
        return list(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def find(
        self,
        values: Sequence[Label],
        seed: int,
        steps: int,
        *,
        setting: str | None = None,
        fidelity: float | None = None,
    ) -> Record | None:
        """Return the record of these values, seed and steps; one that is ok goes before failed ones.

        Args:
            values: Labels of the allocation.
            seed: Seed of the record.
            steps: Steps of the record.
            setting: Only records of this setting; of any setting by default.
            fidelity: Fidelity of a slice, which has no steps of its own; None for a fine-tune.
        """
        place = self._places.get((setting, tuple(values), seed, steps, fidelity))
        return None if place is None else self._records[place]

    def append(self, record: Record) -> bool:
        """Write a record and keep it.

        Returns:
            False, with nothing written, if the file has the same measurement already, perhaps from another
            process.

        Raises:
            StorageError: If the file cannot be written; its earlier content is unchanged.
        """
        with lock_file(self.path):
            if self._measure_size() != self._size:
                self._read()
            place = self._places.get((record.setting, *record.measured))
            known = None if place is None else self._records[place]
            if known is not None and (known.status == "ok" or record.status == "failed"):
                return False
            append_locked(self.path, record.to_json())
            self._size = self._measure_size()
        self._keep(record)
        return True

    def _read(self) -> None:
        self._records: list[Record] = []
        self._places: dict[tuple[object, ...], int] = {}
        self._size = self._measure_size()
        for number, value in read_lines(self.path):
            try:
                self._keep(Record.from_json(value))
            except InputError as error:
                raise CorpusError(f"{self.path}:{number}: {error}") from error

    def _measure_size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _keep(self, record: Record) -> None:
        for setting in (record.setting, None):
            key = (setting, *record.measured)
            place = self._places.get(key)
            if place is None or self._records[place].status == "failed":
                self._places[key] = len(self._records)
        self._records.append(record)
