"""Migration of a corpus to the schema of this version, without loss."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from rankadaptor.corpus.lines import lock_file, read_lines
from rankadaptor.corpus.record import SCHEMA, Record
from rankadaptor.errors import CorpusError, InputError, NonFiniteError
from rankadaptor.files import dump_json, write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """The outcome for one file of records.

    Attributes:
        path: The file.
        converted: Number of records converted from an earlier schema.
        kept: Number of records that had this schema already.
    """

    path: Path
    converted: int
    kept: int


def migrate_corpus(folder: str | Path) -> list[Migration]:
    """Write the records of a corpus in the schema of this version; each file is replaced atomically.

    Every record is read back from the new text and compared with the old one before the file is replaced, and
    a file with a fault is left unchanged. A second run changes nothing.

    Args:
        folder: The corpus; corpora in its subfolders are migrated too.

    Returns:
        One entry per file of records.

    Raises:
        CorpusError: If the folder holds no records, or a line is not a record; the message names file and
            line. Files before it are migrated; this one and those after it are unchanged.
        StorageError: If a file cannot be written; it is then unchanged.
    """
    root = Path(folder)
    paths = sorted([*root.glob("records/*.jsonl"), *root.glob("*/records/*.jsonl")])
    if not paths:
        raise CorpusError(
            f"{root}: no records/*.jsonl here or one folder below. Give the folder of a corpus."
        )
    done = [_migrate_file(path) for path in paths]
    logger.info("%s: %d records converted", root, sum(entry.converted for entry in done))
    return done


def _migrate_file(path: Path) -> Migration:
    with lock_file(path):
        lines: list[str] = []
        converted = 0
        for number, value in read_lines(path):
            try:
                record = Record.from_json(value)
                data = record.to_json()
                if Record.from_json(json.loads(dump_json(data))) != record:
                    raise InputError("it does not read back as it was.")
            except (InputError, NonFiniteError) as error:
                raise CorpusError(f"{path}:{number}: {error}") from error
            converted += value.get("schema") != SCHEMA
            lines.append(dump_json(data, name=str(path), separators=(",", ":")))
        if converted:
            write_text(path, "".join(f"{line}\n" for line in lines))
    return Migration(path=path, converted=converted, kept=len(lines) - converted)
