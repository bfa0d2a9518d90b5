"""Losses of single held-out sequences, in files beside the records.

They allow paired statistics over sequences. A record has about 400 bytes and its losses have more, so that
separate files keep the records readable and fast to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from rankadaptor.corpus.lines import append_json, read_lines
from rankadaptor.corpus.record import Record, decode_losses, encode_losses
from rankadaptor.errors import CorpusError, InputError
from rankadaptor.space import Label
from rankadaptor.space.slot import read_label

SCHEMA = 1
Key: TypeAlias = tuple[tuple[Label, ...], int, int]
"""Values, seed and steps."""


def append_losses(path: Path, record: Record) -> None:
    """Append the sequence losses of a record as one line of base64 float32.

    Raises:
        InputError: If the record has none.
        StorageError: If the file cannot be written.
    """
    if record.sequence_losses is None:
        raise InputError("this record has no sequence losses. Measure with them, or append the record alone.")
    line = {
        "schema": SCHEMA,
        "values": list(record.values),
        "seed": record.seed,
        "steps": record.steps,
        "losses": encode_losses(record.sequence_losses),
    }
    append_json(path, line)


def read_losses(path: Path) -> dict[Key, tuple[float, ...]]:
    """Return the sequence losses in nats per token by values, seed and steps; the last entry counts.

    Raises:
        CorpusError: If a line has a fault; the message names file and line.
    """
    found: dict[Key, tuple[float, ...]] = {}
    for number, line in read_lines(path):
        try:
            if line["schema"] != SCHEMA:
                raise InputError(f"schema {line['schema']!r}, this version reads {SCHEMA}. Measure again.")
            key = (
                tuple(read_label(value) for value in line["values"]),
                int(line["seed"]),
                int(line["steps"]),
            )
            found[key] = decode_losses(line["losses"])
        except InputError as error:
            raise CorpusError(f"{path}:{number}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(
                f"{path}:{number}: needs schema, values, seed, steps and losses ({error!r}). Delete this "
                "line."
            ) from error
    return found
