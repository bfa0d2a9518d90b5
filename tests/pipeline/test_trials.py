"""A pool of trials: accidents cost at most the trials in flight, and every record is written once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rankadaptor.components.adapter import count_parameters
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.errors import InputError, StorageError
from rankadaptor.pipeline import trials
from rankadaptor.pipeline.trials import TrialPool
from tests.quick_trials import SPACE, build_quick_trials, cause, make_jobs, make_source, name_trial


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "build_trials", build_quick_trials)


def measure(folder: Path, *, workers: int = 2, count: int = 8, seeds: tuple[int, ...] = (0,), **execution):
    with TrialPool(make_source(folder, **execution), workers=workers) as pool:
        return pool.measure_all(make_jobs(count, seeds=seeds), label="test")


def describe(records: list[Record]) -> list[tuple]:
    return [
        (record.values, record.seed, record.steps, record.loss, record.loss_reference) for record in records
    ]


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[tuple]:
    (tmp_path / "undisturbed").mkdir()
    return describe(measure(tmp_path / "undisturbed", workers=1, seeds=(0, 1)))


def test_accidents_to_workers_change_no_record(tmp_path: Path, undisturbed: list[tuple]) -> None:
    jobs = make_jobs(8, seeds=(0, 1))
    happening = ["once killed", "once out of memory", "once killed"]
    cause(
        {name_trial(jobs[n].allocation.values, jobs[n].seed): what for n, what in enumerate(happening)},
        tmp_path,
    )
    assert describe(measure(tmp_path, seeds=(0, 1))) == undisturbed
    stored = RecordFile(tmp_path / "records.jsonl").records
    assert len({record.key for record in stored}) == len(stored) == 16


def test_a_trial_lost_twice_is_recorded_as_failed_and_the_others_go_on(tmp_path: Path) -> None:
    jobs = make_jobs(8)
    happening = {1: "killed", 2: "hung", 4: "diverged", 5: "out of memory"}
    cause({name_trial(jobs[n].allocation.values, 0): what for n, what in happening.items()}, tmp_path)
    records = measure(tmp_path, trial_timeout=0.7)
    assert [number for number, record in enumerate(records) if record.status == "failed"] == [1, 2, 4, 5]
    reasons = {number: str(records[number].error) for number in happening}
    assert "lost twice" in reasons[1]
    assert "killed" in reasons[1]
    assert "time limit" in reasons[2]
    assert "NaN" in reasons[4]
    assert "memory" in reasons[5]
    for record in records:
        assert record.loss_reference is not None
        assert record.parameters == count_parameters(SPACE, record.values)
    # Nothing of it is measured again, not even what failed.
    before = (tmp_path / "records.jsonl").read_bytes()
    cause({}, tmp_path)
    assert measure(tmp_path) == records
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_uniform_lost_twice_ends_the_run_and_is_not_recorded(tmp_path: Path) -> None:
    cause({name_trial(SPACE.reference().values, 0): "killed"}, tmp_path)
    with pytest.raises(StorageError, match=r"killed.*memory.*compute.workers=1"):
        measure(tmp_path)
    assert len(RecordFile(tmp_path / "records.jsonl")) == 0
    cause({}, tmp_path)
    assert all(record.status == "ok" for record in measure(tmp_path))


def test_a_full_disk_keeps_what_is_there_and_the_run_continues(
    tmp_path: Path, undisturbed: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    written = 0
    force = os.fsync

    def force_until_full(handle: int) -> None:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        force(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", force_until_full)
        with pytest.raises(StorageError, match=r"records\.jsonl.*No space left.*same command"):
            measure(tmp_path, seeds=(0, 1))
    assert len(RecordFile(tmp_path / "records.jsonl")) == 5
    assert describe(measure(tmp_path, seeds=(0, 1))) == undisturbed


def test_a_time_limit_gives_one_worker_a_process_of_its_own(tmp_path: Path) -> None:
    jobs = make_jobs(3)
    cause({name_trial(jobs[1].allocation.values, 0): "once hung"}, tmp_path)
    records = measure(tmp_path, workers=1, count=3, trial_timeout=0.7)
    assert [record.status for record in records] == ["ok"] * 3


def test_the_records_of_an_earlier_start_teach_the_limit(tmp_path: Path) -> None:
    measure(tmp_path, workers=1)
    with TrialPool(make_source(tmp_path), workers=2) as pool:
        assert pool.limit.allow(24) == 600.0
        assert pool.limit.allow(24 * 10**6) > 10**5


def test_ray_missing_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'needs the package ray.*pip install "ray.*compute.executor: local'):
        measure(tmp_path, executor="ray")
