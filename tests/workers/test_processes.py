"""Processes of this machine: results keep their index, accidents cost one attempt, orphans end themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.errors import InputError, StorageError, TrainingError
from rankadaptor.workers import TimeLimit, open_local_pool, processes, raise_fault, run_jobs, run_side_by_side
from rankadaptor.workers.processes import ProcessBackend, open_context
from tests.workers.jobs import build_accidents, build_bad_start, build_deadly_start, build_square


def square(*, number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die(*, number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def run_accidents(
    folder: Path, jobs: list[tuple[str, int]], *, workers: int = 2, limit: TimeLimit | None = None
) -> dict[tuple[str, int], Any]:
    with open_local_pool(build_accidents, (str(folder),), workers=workers) as pool:
        return {
            job: result if fault is None else fault
            for job, result, fault in run_jobs(pool, jobs, arguments=lambda job: job, limit=limit)
        }


def test_results_come_with_their_index_from_other_processes() -> None:
    found = dict(run_side_by_side(square, [{"number": number} for number in range(4)], workers=2))
    assert {index: result[0] for index, result in found.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert os.getpid() not in {result[1] for result in found.values()}


def test_workers_have_the_environment_of_their_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what has changed since the first of them began."""
    for value in ("first", "second"):
        monkeypatch.setenv("RANKADAPTOR_TESTED", value)
        found = dict(run_side_by_side(os.getenv, [{"key": "RANKADAPTOR_TESTED"}] * 2, workers=2))
        assert set(found.values()) == {value}


@pytest.mark.parametrize(("build", "method"), [("2.9.1+cpu", "forkserver"), ("2.9.1", "spawn")])
def test_nothing_is_forked_that_may_have_touched_a_gpu(
    monkeypatch: pytest.MonkeyPatch, build: str, method: str
) -> None:
    monkeypatch.setattr(processes, "version", lambda _: build)
    assert open_context().get_start_method() == (method if sys.platform == "linux" else "spawn")


def test_one_worker_means_this_process() -> None:
    found = dict(run_side_by_side(square, [{"number": 3}, {"number": 4}], workers=1))
    assert {result[1] for result in found.values()} == {os.getpid()}


def test_a_job_whose_worker_is_killed_twice_is_named() -> None:
    with pytest.raises(StorageError, match=r"killed.*memory"):
        list(run_side_by_side(die, [{"number": 0}, {"number": 1}], workers=2))


def test_accidents_cost_one_attempt_and_no_other_job(tmp_path: Path) -> None:
    accidents = ["once-killed", "once-out of memory", "once-defect", "killed", "out of memory"]
    jobs = [(what, number) for number, what in enumerate(["fine", *accidents, "fine", "fine"])]
    found = run_accidents(tmp_path, jobs)
    assert set(found) == set(jobs)
    for (what, number), result in found.items():
        if what == "fine" or what.startswith("once-"):
            assert result == f"{what}-{number}"
        else:
            assert result.lost
            assert "memory" in result.reason


def test_an_error_of_the_package_is_not_tried_again(tmp_path: Path) -> None:
    fault = run_accidents(tmp_path, [("diverged", 0)])["diverged", 0]
    assert not fault.lost
    with pytest.raises(TrainingError, match="the loss is NaN"):
        raise_fault(fault)


def test_an_unknown_error_keeps_its_traceback(tmp_path: Path) -> None:
    fault = run_accidents(tmp_path, [("defect", 0)])["defect", 0]
    with pytest.raises(RuntimeError, match=r"nobody expected this[\s\S]*in run"):
        raise_fault(fault)


@pytest.mark.parametrize("what", ["hung", "stopped"])
def test_a_hung_worker_is_replaced(tmp_path: Path, what: str) -> None:
    jobs = [(f"once-{what}", 0), (what, 1), ("fine", 2), ("fine", 3)]
    found = run_accidents(tmp_path, jobs, limit=TimeLimit(0.5))
    assert found[f"once-{what}", 0] == f"once-{what}-0"
    assert "time limit" in found[what, 1].reason
    assert found["fine", 2] == "fine-2"
    for mark in tmp_path.iterdir():
        assert not is_running(int(mark.read_text()))


def test_the_limit_learned_from_others_ends_a_hung_job(tmp_path: Path) -> None:
    # Submitted before anything is known: the limit that siblings teach must reach it.
    jobs = [("once-hung", 0), ("fine", 1), ("fine", 2)]
    found = run_accidents(tmp_path, jobs, limit=TimeLimit(least=1.0))
    assert found["once-hung", 0] == "once-hung-0"


def test_what_broke_down_early_sets_no_limit_for_the_others(tmp_path: Path) -> None:
    jobs = [("fine", 0), ("slow", 1)]
    with open_local_pool(build_accidents, (str(tmp_path),), workers=2) as pool:
        faults = [
            fault
            for _, _, fault in run_jobs(
                pool, jobs, arguments=lambda job: job, limit=TimeLimit(least=0.2), tells=lambda _: False
            )
        ]
    assert faults == [None, None]


def test_a_learned_limit_is_generous_and_grows_with_the_work() -> None:
    limit = TimeLimit()
    assert limit.allow(10) is None
    limit.observe(100.0, 10)
    assert limit.allow(10) == 1000.0
    assert limit.allow(100) == 10_000.0
    assert limit.allow(1) == 1000.0
    limit.observe(1.0, 10)
    assert limit.allow(1) == 600.0
    assert TimeLimit(3.0).allow(1e9) == 3.0


def test_an_idle_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with open_local_pool(build_square, workers=1) as pool:
        pids = []
        for number in (2, 3):
            pool.submit(number, (number,))
            [answer] = pool.wait()
            assert answer.value[0] == number**2
            pids.append(answer.value[1])
            os.kill(pids[-1], signal.SIGKILL)
            while is_running(pids[-1]):
                time.sleep(0.01)
        assert pids[0] != pids[1]


def test_a_start_that_cannot_succeed_is_raised_at_once() -> None:
    with open_local_pool(build_bad_start, workers=2) as pool:
        pool.submit(0, ())
        with pytest.raises(InputError, match="cannot be loaded"):
            pool.wait()


def test_workers_that_die_while_they_start_end_the_run() -> None:
    with open_local_pool(build_deadly_start, workers=1) as pool:
        pool.submit(0, ())
        with pytest.raises(StorageError, match="killed"):
            pool.wait()


def test_workers_end_with_their_driver() -> None:
    script = (
        "import time\n"
        "from rankadaptor.workers import open_local_pool\n"
        "from tests.workers.jobs import build_square\n"
        "if __name__ == '__main__':\n"
        "    pool = open_local_pool(build_square, workers=1)\n"
        "    pool.submit(0, (1,))\n"
        "    print(pool.wait()[0].value[1], flush=True)\n"
        "    time.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    for _ in range(100):
        if not is_running(worker):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its driver")


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended but was not collected yet does not.

    While one of its threads still ends, its pipes are open, and what is written to them is lost.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_pool_still_busy_with_an_earlier_call_answers_the_next_one_only() -> None:
    with open_local_pool(build_square, (), workers=2) as pool:
        first = run_jobs(pool, [1, 2], arguments=lambda job: (job,))
        next(first)
        first.close()  # as an error of the caller's does; the other job still runs or has an answer waiting
        found = {job: result for job, result, _ in run_jobs(pool, [3, 4, 5], arguments=lambda job: (job,))}
    assert sorted(found) == [3, 4, 5]


def test_killed_workers_leave_no_semaphore_behind() -> None:
    script = """
from rankadaptor.workers import open_local_pool, processes
from tests.workers.jobs import build_bar

processes.PRELOADED = "tqdm"
if __name__ == "__main__":
    with open_local_pool(build_bar, workers=2) as pool:
        for ticket in range(2):
            pool.submit(ticket, ())
        answers = pool.wait() + pool.wait()
    assert [answer.value for answer in answers] == [3, 3], answers
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_signal_waits_until_a_started_process_has_all_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose driver stops in the middle of its start would report a broken pipe."""
    finished = []

    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    class Process:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            finished.append(True)

    backend = ProcessBackend(build_square, ())
    monkeypatch.setattr(type(backend._context), "Process", Process)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupted):
            backend.start()
        assert finished
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
