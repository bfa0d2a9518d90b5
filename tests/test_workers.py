"""Jobs side by side: results keep their index, a killed worker is named, orphans end themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankadaptor.errors import StorageError
from rankadaptor.workers import run_side_by_side


def square(*, number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die(*, number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_with_their_index_from_other_processes() -> None:
    found = dict(run_side_by_side(square, [{"number": number} for number in range(4)], workers=2))
    assert {index: result[0] for index, result in found.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert os.getpid() not in {result[1] for result in found.values()}


def test_one_worker_means_this_process() -> None:
    found = dict(run_side_by_side(square, [{"number": 3}, {"number": 4}], workers=1))
    assert {result[1] for result in found.values()} == {os.getpid()}


def test_a_killed_worker_is_named() -> None:
    with pytest.raises(StorageError, match=r"killed.*memory"):
        list(run_side_by_side(die, [{"number": 0}, {"number": 1}], workers=2))


def test_workers_end_with_their_driver() -> None:
    script = (
        "import sys, time; sys.path.insert(0, 'tests')\n"
        "from rankadaptor.workers import open_pool\n"
        "import os\n"
        "if __name__ == '__main__':\n"
        "    pool = open_pool(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    for _ in range(100):
        if not _is_running(worker):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its driver")


def _is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended but was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
