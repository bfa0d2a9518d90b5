"""Functions that workers of the tests build and call; they must be importable in a fresh process."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from rankadaptor.errors import InputError, TrainingError


def build_square() -> Callable[[int], tuple[int, int]]:
    return lambda number: (number * number, os.getpid())


def build_bad_start() -> Callable[..., None]:
    raise InputError("the model cannot be loaded")


def build_deadly_start() -> Callable[..., None]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def build_accidents(folder: str) -> Callable[[str, int], str]:
    """Build a function to which something happens: always, or only the first time (`once-...`)."""

    def run(what: str, number: int) -> str:
        mark = Path(folder) / f"{what}-{number}"
        again = mark.exists()
        mark.write_text(str(os.getpid()))
        kind = what.removeprefix("once-")
        if what == "fine" or (what.startswith("once-") and again):
            return f"{what}-{number}"
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "slow":
            time.sleep(1.5)
            return f"{what}-{number}"
        if kind == "hung":
            time.sleep(1000)
        if kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if kind == "out of memory":
            bytearray(1 << 60)
        if kind == "diverged":
            raise TrainingError("the loss is NaN", step=3)
        if kind == "defect":
            raise KeyError("nobody expected this")
        raise AssertionError(what)

    return run


def build_places() -> Callable[[int], tuple[str, str]]:
    """Build a function that says on which node of a cluster, and on which GPU, it runs."""
    import ray

    def run(number: int) -> tuple[str, str]:
        time.sleep(0.2)
        return str(ray.get_runtime_context().get_node_id()), os.environ.get("CUDA_VISIBLE_DEVICES", "")

    return run


def build_bar() -> Callable[[], int]:
    """Return a job that opens a hidden progress bar, as loading a model does."""
    from tqdm.auto import tqdm

    return lambda: sum(tqdm(range(3), disable=False, file=io.StringIO()))
