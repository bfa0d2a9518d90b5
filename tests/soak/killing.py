"""Runs a command again and again while it, or one of its workers, is killed at random points."""

from __future__ import annotations

import logging
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

logger = logging.getLogger(__name__)

LONGEST = 600.0  # seconds that a command may take to show progress


@dataclass
class Disturbance:
    """What was done to a run.

    Attributes:
        drivers: Times its driver was killed.
        workers: Times one of its workers was killed.
        points: Whole records on disk at each kill.
    """

    drivers: int = 0
    workers: int = 0
    points: list[int] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.drivers + self.workers


@dataclass
class Killer:
    """Kills with SIGKILL: the driver or a worker, after some records or after some time.

    A worker is spared until enough records came since the last one died that no trial can be hit twice, since
    a trial that is lost twice is recorded as failed, as it should be.

    Attributes:
        command: Starts the driver, or continues what it did.
        records: The file that shows its progress.
        random: Draws what is killed, and when.
        pause: Longest wait before a kill, in seconds.
        stride: Most records awaited before a kill.
    """

    command: list[str]
    records: Path
    random: Random
    pause: float
    stride: int
    done: Disturbance = field(default_factory=Disturbance)

    def disturb(self, kills: int) -> bool:
        """Run the command until it has been killed so often, or ends by itself; tell whether it ended."""
        driver: psutil.Popen | None = None
        spared_until = 0
        while self.done.kills < kills:
            if driver is None:
                driver = psutil.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                spared_until = 0
            workers_too = self.random.random() < 0.5
            until = self.count_records() + self.random.randint(0, self.stride)
            if not self._await(driver, records=max(until, spared_until if workers_too else 0)):
                return True
            # Mostly soon, because trials are short; now and then late, into the steps before and after them.
            if not self._sleep(driver, self.pause * self.random.random() ** 3):
                return True
            if workers_too:
                spared_until = self._kill_worker(driver)
            else:
                self._kill_driver(driver)
                driver = None
        if driver is not None:
            self._kill_driver(driver)
        return False

    def count_records(self) -> int:
        return self.records.read_bytes().count(b"\n") if self.records.exists() else 0

    def _await(self, driver: psutil.Popen, *, records: int) -> bool:
        end = time.monotonic() + LONGEST
        while self.count_records() < records:
            if driver.poll() is not None:
                self._check_end(driver)
                return False
            assert time.monotonic() < end, "no progress"
            time.sleep(0.005)
        return True

    def _sleep(self, driver: psutil.Popen, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if driver.poll() is not None:
                self._check_end(driver)
                return False
            time.sleep(0.005)
        return True

    def _check_end(self, driver: psutil.Popen) -> None:
        assert driver.stderr is not None
        assert driver.returncode == 0, driver.stderr.read().decode()[-3000:]

    def _kill_worker(self, driver: psutil.Popen) -> int:
        workers = list_workers(driver)
        if workers:
            self.done.points.append(self.count_records())
            self.random.choice(workers).kill()
            self.done.workers += 1
        return self.count_records() + 5  # with two workers, a lost trial is tried again before these

    def _kill_driver(self, driver: psutil.Popen) -> None:
        workers = list_workers(driver)
        self.done.points.append(self.count_records())
        driver.kill()
        driver.wait()
        self.done.drivers += 1
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "a worker outlived its driver"


def list_workers(driver: psutil.Popen) -> list[psutil.Process]:
    """Return the driver's worker processes, those that are just starting included."""
    try:
        servers = [
            child for child in driver.children() if "multiprocessing.forkserver" in _write_command(child)
        ]
        forked = [worker for server in servers for worker in server.children()]
        return forked + [child for child in driver.children() if "spawn_main" in _write_command(child)]
    except psutil.Error:
        return []


def _write_command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())
