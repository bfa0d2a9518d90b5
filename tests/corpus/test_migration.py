"""A corpus of schema 1 becomes one of schema 2 and loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.corpus import Corpus, Record, RecordFile, migrate_corpus
from rankadaptor.errors import CorpusError, StorageError
from tests.corpus.measured import SPACE, build_record, build_setting
from tests.corpus.test_record import OLD
from tests.documents import ROOT

REFERENCE = list(SPACE.reference().values)


def write_schema_1(record: Record) -> dict[str, Any]:
    """Write a record as earlier versions did."""
    return {
        "schema": 1, "setting": record.setting, "values": list(record.values), "seed": record.seed,
        "steps": record.steps, "fidelity": record.fidelity, "loss": record.loss,
        "loss_uniform": record.loss_reference, "parameters": record.parameters, "tokens": record.tokens,
        "seconds": record.seconds, "status": record.status, "error": record.error, "commit": record.commit,
        "created": record.created,
    }  # fmt: skip


def write_lines(path: Path, lines: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


def read_schemas(path: Path) -> list[int]:
    return [json.loads(line)["schema"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus of records of both schemas, with losses and a study beside them, and one in a subfolder."""
    corpus = Corpus.create(tmp_path / "meta")
    corpus.add_setting(build_setting())
    measured = [build_record(seed=seed) for seed in range(3)]
    for record in measured:
        corpus.append(Record(**{**vars(record), "sequence_losses": (4.5, 3.75)}))
    failed = build_record(seed=3, loss=None, status="failed", error="out of memory")
    write_lines(
        corpus.folder / "records" / "pico-third.jsonl",
        [
            *(write_schema_1(record) for record in (*measured, failed)),
            build_record(seed=9, fidelity=1.0, steps=100).to_json(),
        ],
    )
    study = {"schema": 1, "setting": "pico-third", "curve": [{"steps": 10, "tokens": 1000, "loss": 4.3}]}
    write_lines(corpus.folder / "studies" / "pico-third.json", [study])
    own = Corpus.create(corpus.folder / "mine")
    own.add_setting(build_setting("mine-half", pruning={"ratio": 0.5}))
    write_lines(own.folder / "records" / "mine-half.jsonl", [OLD | {"setting": "mine-half"}])
    return corpus.folder


def test_every_record_is_kept_and_a_second_time_changes_nothing(folder: Path) -> None:
    before = Corpus.load(folder)
    done = migrate_corpus(folder)
    assert [(entry.path.parts[-3:], entry.converted, entry.kept) for entry in done] == [
        (("mine", "records", "mine-half.jsonl"), 1, 0),
        (("meta", "records", "pico-third.jsonl"), 4, 1),
    ]
    paths = [entry.path for entry in done]
    assert {schema for path in paths for schema in read_schemas(path)} == {2}
    after = Corpus.load(folder)
    assert after.records() == before.records()
    assert after.digest == before.digest
    losses = after.read_sequence_losses("pico-third")
    assert losses == before.read_sequence_losses("pico-third")
    assert losses[tuple(REFERENCE), 0, 24] == (4.5, 3.75)
    assert after.studies("pico-third") == before.studies("pico-third")
    assert after.studies("pico-third").curve
    assert not after.append(build_record())  # known as the measurement it was
    contents = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert [(entry.converted, entry.kept) for entry in migrate_corpus(folder)] == [(0, 1), (0, 5)]
    assert [path.read_bytes() for path in paths] == contents
    assert [path.stat().st_mtime_ns for path in paths] == stamps


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("{oops", "not valid JSON"),
        (OLD | {"tokens": "many"}, "tokens='many': must be a whole number"),
        (OLD | {"seconds": float("inf")}, "seconds is inf"),
        ({"schema": 3}, "schema 3, this version reads 1 and 2"),
        ([1], "not an object"),
    ],
)
def test_a_file_with_a_bad_line_is_left_as_it_was_and_named(folder: Path, fault: Any, message: str) -> None:
    path = folder / "records" / "pico-third.jsonl"
    lines = path.read_text("utf-8").splitlines()
    write_lines(path, [lines[0], fault, *lines[1:]])
    before = path.read_bytes()
    with pytest.raises(CorpusError, match=rf"pico-third\.jsonl:2: .*{message}"):
        migrate_corpus(folder)
    assert path.read_bytes() == before


def test_sequence_losses_inside_a_record_stay(tmp_path: Path) -> None:
    record = build_record(sequence_losses=(4.1, 4.25))
    path = tmp_path / "records" / "any.jsonl"
    write_lines(path, [write_schema_1(record) | {"sequence_losses": record.to_json()["sequence_losses"]}])
    migrate_corpus(tmp_path)
    assert read_schemas(path) == [2]
    assert RecordFile(path).records == [record]


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(folder.rglob("records/*.jsonl"))
    before = [path.read_bytes() for path in paths]

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StorageError, match="No space left"):
        migrate_corpus(folder)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(folder.rglob("records/*")) == paths  # nothing half written beside them
    monkeypatch.undo()
    assert [entry.converted for entry in migrate_corpus(folder)] == [1, 4]


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no records/\*\.jsonl"):
        migrate_corpus(tmp_path)


def test_the_corpus_of_the_repository_in_schema_1_comes_back_as_it_is(tmp_path: Path) -> None:
    committed = Corpus.load(ROOT / "meta_data")
    folder = tmp_path / "meta_data"
    for part in ("settings", "losses", "studies"):
        shutil.copytree(ROOT / "meta_data" / part, folder / part)
    for name in committed.names():
        write_lines(
            folder / "records" / f"{name}.jsonl",
            [write_schema_1(record) for record in committed.records(name)],
        )
    old = Corpus.load(folder)
    assert old.records() == committed.records()
    assert old.digest == committed.digest
    done = migrate_corpus(folder)
    assert sum(entry.converted for entry in done) == len(committed)
    new = Corpus.load(folder)
    assert new.records() == committed.records()
    assert new.digest == committed.digest
    for name in new.names():
        assert new.read_sequence_losses(name) == committed.read_sequence_losses(name)
        assert new.studies(name) == committed.studies(name)
