"""A corpus: settings and the records measured in them, in one folder or several."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.corpus.lines import append_json, read_lines
from rankadaptor.corpus.losses import Key, append_losses, read_losses
from rankadaptor.corpus.record import Record
from rankadaptor.corpus.setting import Setting
from rankadaptor.corpus.studies import Study, read_study
from rankadaptor.errors import BudgetError, CorpusError, InputError
from rankadaptor.features import ScoreTable
from rankadaptor.files import compute_digest, name_storage_fault, read_json, write_json
from rankadaptor.space import Space

if TYPE_CHECKING:
    import pandas

    from rankadaptor.corpus.table import Contents

logger = logging.getLogger(__name__)

PARTS = ("settings", "records")


class Corpus:
    """Records on disk, checked as they are read.

    A folder holds `settings/<name>.json`, `records/<name>.jsonl` and `losses/<name>.jsonl`. Several folders,
    and folders inside a folder, are read as one corpus: put a folder of your own into `meta_data/` to train
    on both.

    Attributes:
        folder: Where new settings are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = [folder]
        self._settings: dict[str, Setting] = {}
        self._homes: dict[str, Path] = {}
        self._spaces: dict[str, Space] = {}
        self._records: dict[str, list[Record]] = {}
        self._keys: set[tuple[object, ...]] = set()

    @classmethod
    def load(cls, folder: str | Path | Sequence[str | Path], *more: str | Path) -> Corpus:
        """Read one folder or several, each with the corpora in its subfolders.

        A setting that occurs twice must have the same content and the same `held_out`; records that occur
        twice count once.

        Raises:
            CorpusError: If a folder is not a corpus, or a file has a fault; the message names file and line.
        """
        given = [folder] if isinstance(folder, str | Path) else list(folder)
        roots = [Path(path) for path in [*given, *more]]
        if not roots:
            raise CorpusError("no folder given. Give at least one, for example Corpus.load('meta_data').")
        corpus = cls(roots[0])
        corpus._parts = [part for root in roots for part in _find_parts(root)]
        for part in corpus._parts:
            corpus._read_settings(part)
        for part in corpus._parts:
            corpus._read_records(part)
        return corpus

    @classmethod
    def create(cls, folder: str | Path) -> Corpus:
        """Make an empty corpus, or open the one that is there.

        Raises:
            StorageError: If the folder cannot be written.
        """
        root = Path(folder)
        with name_storage_fault(root):
            for part in PARTS:
                (root / part).mkdir(parents=True, exist_ok=True)
        return cls.load(root)

    def __len__(self) -> int:
        return sum(len(records) for records in self._records.values())

    @property
    def digest(self) -> str:
        """Name of the corpus by its settings and records, whatever their order and folders."""
        return compute_digest(
            {
                name: [
                    self._settings[name].digest,
                    self._settings[name].held_out,
                    sorted(
                        (
                            [list(record.values), record.seed, record.steps, repr(record.gain)]
                            for record in records
                        ),
                        key=_order_row,
                    ),
                ]
                for name, records in self._records.items()
            }
        )

    def names(self, *, held_out: bool | None = None) -> list[str]:
        """Return the names of all settings, or of those held out or not, sorted."""
        return sorted(
            name
            for name, setting in self._settings.items()
            if held_out is None or setting.held_out == held_out
        )

    def setting(self, name: str) -> Setting:
        """Return a setting by name.

        Raises:
            InputError: If there is none.
        """
        if name not in self._settings:
            known = ", ".join(self.names()) or "none yet"
            raise InputError(
                f"setting {name!r} is not in this corpus. Known: {known}. Add it with add_setting first."
            )
        return self._settings[name]

    def space(self, setting: str) -> Space:
        """Return the space of a setting."""
        self.setting(setting)
        return self._spaces[setting]

    def records(self, setting: str | None = None) -> list[Record]:
        """Return the records of one setting, or of all, failed ones included, as they were measured.

        Those read from disk come without `sequence_losses`; `read_sequence_losses` fetches them.
        """
        if setting is None:
            return [record for name in self.names() for record in self._records[name]]
        self.setting(setting)
        return list(self._records[setting])

    def read_sequence_losses(self, setting: str) -> dict[Key, tuple[float, ...]]:
        """Return the held-out loss of each sequence in nats per token, by values, seed and steps."""
        self.setting(setting)
        found: dict[Key, tuple[float, ...]] = {}
        for part in self._parts:
            found |= read_losses(part / "losses" / f"{setting}.jsonl")
        return found

    def studies(self, setting: str) -> Study:
        """Return the further measurements in a setting beside its records; an empty study without any.

        Raises:
            CorpusError: If its file has a fault, or two folders hold one.
        """
        space = self.space(setting)
        paths = [part / "studies" / f"{setting}.json" for part in self._parts]
        found = [path for path in paths if path.exists()]
        if len(found) > 1:
            raise CorpusError(f"{found[0]} and {found[1]} study one setting. Join them into one file.")
        return read_study(found[0] if found else paths[0], space=space)

    def scores(self, setting: str) -> dict[str, ScoreTable]:
        """Return the score tables of a setting, by kind; empty if none was measured.

        Raises:
            CorpusError: If the file has a fault, or a table belongs to another space.
        """
        space = self.space(setting)
        found: dict[str, ScoreTable] = {}
        for part in self._parts:
            path = part / "scores" / f"{setting}.jsonl"
            for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], 1):
                try:
                    table = ScoreTable.from_json(json.loads(line))
                    table.check_space(space)
                except (InputError, json.JSONDecodeError) as error:
                    raise CorpusError(f"{path}, line {number}: {error}") from error
                found[table.kind] = table
        return found

    def table(self) -> pandas.DataFrame:
        """Return all records as a table; see `rankadaptor.corpus.table.build_table`."""
        from rankadaptor.corpus.table import build_table

        return build_table(self._list_contents())

    def settings(self) -> pandas.DataFrame:
        """Return all settings as a table; see `rankadaptor.corpus.table.describe_settings`."""
        from rankadaptor.corpus.table import describe_settings

        return describe_settings(self._list_contents())

    def _list_contents(self) -> list[Contents]:
        return [(self._settings[name], self._spaces[name], self._records[name]) for name in self.names()]

    def add_setting(self, setting: Setting) -> bool:
        """Write a setting; adding it again can fill in losses that were measured later.

        Returns:
            False, with nothing written, if it is there already.

        Raises:
            CorpusError: If another setting has this name, or the same one has another `held_out`.
            InputError: If its space is not valid.
            StorageError: If the folder cannot be written.
        """
        known = self._settings.get(setting.name)
        differing = [] if known is None else known.find_differences(setting)
        if known is not None and not differing:  # the same space may be written in another schema
            setting = dataclasses.replace(setting, space=known.space)
        if known == setting:
            return False
        home = self._homes.get(setting.name, self.folder)
        path = home / "settings" / f"{setting.name}.json"
        if differing:
            raise CorpusError(
                f"{path}: a setting of this name is there and differs from the one given in "
                f"{', '.join(differing)}. Give the new one another name."
            )
        if known is not None and known.held_out != setting.held_out:
            raise CorpusError(
                f"{path}: the setting given has held_out={setting.held_out}, the one that is there "
                f"held_out={known.held_out}; adding it again keeps that. Give held_out={known.held_out}, or "
                "change the file if predictors are to be trained otherwise from now on."
            )
        space = setting.build_space()
        write_json(path, setting.to_json())
        self._keep_setting(setting, space, home)
        return True

    def append(self, record: Record) -> bool:
        """Write a record; it is on disk before this returns.

        Returns:
            False, with nothing written, if the same measurement (setting, values, seed, steps, status) is
            there.

        Raises:
            InputError: If the setting is unknown or the values are not in its space.
            StorageError: If the folder cannot be written; what was there before is untouched.
        """
        self.setting(record.setting)
        if record.key in self._keys:
            return False
        self._check_values(record)
        home = self._homes[record.setting]
        if record.sequence_losses is not None:  # first, so that a record on disk has its losses on disk
            append_losses(home / "losses" / f"{record.setting}.jsonl", record)
        line = record.to_json()
        line.pop("sequence_losses", None)
        append_json(home / "records" / f"{record.setting}.jsonl", line)
        self._keep_record(record)
        return True

    def extend(self, records: Sequence[Record]) -> int:
        """Write records and return how many were new."""
        return sum(self.append(record) for record in records)

    def _read_settings(self, folder: Path) -> None:
        for path in sorted((folder / "settings").glob("*.json")):
            try:
                setting = Setting.from_json(read_json(path))
                space = setting.build_space()
            except InputError as error:
                text = str(error)
                raise CorpusError(text if text.startswith(str(path)) else f"{path}: {text}") from error
            if setting.name != path.stem:
                raise CorpusError(
                    f"{path}: the setting inside is named {setting.name!r}. File and setting must have the "
                    "same name."
                )
            known = self._settings.get(setting.name)
            if known is None:
                self._keep_setting(setting, space, folder)
            elif differing := known.find_differences(setting):
                raise CorpusError(
                    f"{path}: a setting of this name is in {self._homes[setting.name]} and differs in "
                    f"{', '.join(differing)}. Rename one of them, with its records."
                )
            elif known.held_out != setting.held_out:  # otherwise the order of folders would decide
                raise CorpusError(
                    f"{path}: held_out={setting.held_out}, but {known.held_out} for the same setting in "
                    f"{self._homes[setting.name]}. Give both files the same held_out: true keeps the setting "
                    "out of meta-training."
                )

    def _read_records(self, folder: Path) -> None:
        for path in sorted((folder / "records").glob("*.jsonl")):
            for number, value in read_lines(path):
                try:
                    record = Record.from_json(value)
                    if record.setting not in self._settings:
                        raise InputError(
                            f"setting {record.setting!r} has no file in settings/. Add it, or remove its "
                            "records."
                        )
                    self._check_values(record)
                except InputError as error:
                    raise CorpusError(f"{path}:{number}: {error}") from error
                if record.key in self._keys:
                    logger.warning(
                        "%s:%d: the same measurement occurs before; not counted again", path, number
                    )
                else:
                    self._keep_record(record)

    def _check_values(self, record: Record) -> None:
        try:
            self._spaces[record.setting].allocation(record.values)
        except BudgetError as error:
            raise BudgetError(f"not in the space of setting {record.setting!r}: {error}") from error

    def _keep_setting(self, setting: Setting, space: Space, home: Path) -> None:
        self._settings[setting.name] = setting
        self._spaces[setting.name] = space
        self._homes[setting.name] = home
        self._records.setdefault(setting.name, [])

    def _keep_record(self, record: Record) -> None:
        self._keys.add(record.key)
        self._records[record.setting].append(record)


def _order_row(row: list[Any]) -> list[Any]:
    """Return the key that sorts rows of a digest: labels can be numbers, texts, or tuples of them."""
    labels, *others = row
    return [[(type(label).__name__, repr(label) if isinstance(label, tuple) else label) for label in labels],
            *others]  # fmt: skip


def _find_parts(root: Path) -> list[Path]:
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder. Make a corpus with Corpus.create({str(root)!r}).")
    parts = [
        path for path in [root, *sorted(root.iterdir())] if any((path / part).is_dir() for part in PARTS)
    ]
    if not parts:
        raise CorpusError(
            f"{root}: not a corpus, it has neither settings/ nor records/. Give the folder that holds "
            "them, or make one with Corpus.create."
        )
    return parts
