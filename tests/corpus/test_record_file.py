from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from rankadaptor.corpus import RecordFile
from rankadaptor.errors import CorpusError, StorageError
from tests.corpus.measured import build_record


def test_records_survive_and_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "records.jsonl"
    file = RecordFile(path)
    assert len(file) == 0
    first = build_record(sequence_losses=(4.1, 4.25))
    second = build_record(seed=1)
    assert file.append(first)
    assert file.append(second)
    again = RecordFile(path)
    assert again.records == [first, second]
    assert again.find(list(first.values), 0, 24) == first
    assert again.find(first.values, 0, 25) is None


def test_the_same_measurement_is_written_once(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    assert file.append(build_record())
    assert not file.append(build_record(loss=4.0))
    assert len(RecordFile(file.path)) == 1


def test_settings_share_a_file_without_hiding_each_other(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    failed = build_record(status="failed", loss=None, error="out of memory")
    other = build_record(setting="other", loss=4.0)
    assert [file.append(record) for record in (failed, other, other)] == [True, True, False]
    for each in (file, RecordFile(file.path)):
        assert each.find(other.values, 0, 24, setting="other") == other
        assert each.find(other.values, 0, 24, setting=failed.setting) == failed
        assert each.find(other.values, 0, 24, setting="absent") is None
        assert each.find(other.values, 0, 24) == other  # of any setting, one that is ok first


def test_a_failure_may_be_measured_again_and_both_stay(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    failed = build_record(status="failed", loss=None, error="out of memory")
    good = build_record()
    assert file.append(failed)
    assert file.find(good.values, 0, 24) == failed
    assert not file.append(failed)
    assert file.append(good)
    assert not file.append(failed)
    again = RecordFile(file.path)
    assert again.records == [failed, good]
    assert again.find(good.values, 0, 24) == good


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_an_incomplete_last_line_costs_one_measurement(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "records.jsonl"
    file = RecordFile(path)
    for seed in range(3):
        file.append(build_record(seed=seed))
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(content[: last + cut])
    with caplog.at_level(logging.WARNING):
        resumed = RecordFile(path)
    assert "records.jsonl:3: the last line was cut off" in caplog.text
    assert [record.seed for record in resumed.records] == [0, 1]
    resumed.append(build_record(seed=2))
    assert [record.seed for record in RecordFile(path).records] == [0, 1, 2]


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path).append(build_record())
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    file = RecordFile(path)
    assert len(file) == 1
    file.append(build_record(seed=1))
    assert len(RecordFile(path)) == 2


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    file = RecordFile(path)
    file.append(build_record())
    with path.open("a") as stream:
        stream.write("{oops}\n")
    with pytest.raises(CorpusError, match=r"records\.jsonl:2: not valid JSON"):
        RecordFile(path)
    path.write_text('{"schema": 7}\n')
    with pytest.raises(CorpusError, match=r"records\.jsonl:1: schema 7, this version reads 1 and 2"):
        RecordFile(path)


def test_processes_may_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    code = (
        "import sys; from rankadaptor.corpus import RecordFile\n"
        "from tests.corpus.measured import build_record\n"
        "file, first = RecordFile(sys.argv[1]), int(sys.argv[2])\n"
        "for seed in range(first, first + 40): file.append(build_record(seed=seed, error='x' * 5000))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(start)]) for start in (0, 40)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert sorted(record.seed for record in RecordFile(path).records) == list(range(80))


def test_an_unwritable_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    with pytest.raises((StorageError, CorpusError), match="run"):
        RecordFile(tmp_path / "run" / "records.jsonl").append(build_record())


def test_what_another_process_wrote_meanwhile_is_not_written_again(tmp_path: Path) -> None:
    ours, theirs = (RecordFile(tmp_path / "records.jsonl") for _ in range(2))
    assert theirs.append(build_record())
    assert not ours.append(build_record())
    assert ours.append(build_record(seed=1))
    assert not theirs.append(build_record(seed=1))
    assert [record.seed for record in ours.records] == [0, 1]
    assert RecordFile(ours.path).records == ours.records == theirs.records


def test_a_file_that_may_not_grow_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    code = (
        "import resource, sys\n"
        "from rankadaptor.corpus import RecordFile\n"
        "from rankadaptor.errors import StorageError\n"
        "from tests.corpus.measured import build_record\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "file, refused = RecordFile(sys.argv[1]), 0\n"
        "for seed in range(20):\n"
        "    try: file.append(build_record(seed=seed))\n"
        "    except StorageError as error: refused += 'same command' in str(error)\n"
        "print(len(file), refused)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    kept, refused = map(int, done.stdout.split())
    assert kept + refused == 20
    assert 2 < kept < 20
    assert path.read_bytes().count(b"\n") == kept  # nothing of the lines that failed
    assert [record.seed for record in RecordFile(path).records] == list(range(kept))
    resumed = RecordFile(path)
    for seed in range(20):
        resumed.append(build_record(seed=seed))
    assert [record.seed for record in RecordFile(path).records] == list(range(20))
