"""Mixed-integer programs, solved without a word: HiGHS prints some of its lines whatever it is told."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def solve_binary(
    objective: NDArray[np.float64],
    constraints: Sequence[Any],
    *,
    upper: NDArray[np.float64] | float = 1.0,
    gap: float | None = None,
    seconds: float | None = None,
) -> Any:
    """Minimise a weighted sum of binary variables under linear constraints.

    Args:
        objective: One number per variable.
        constraints: `scipy.optimize.LinearConstraint`s.
        upper: Largest value of each variable: 0 leaves it out.
        gap: Relative gap at which a solution counts as the best; the solver's own by default.
        seconds: Time after which the best solution so far is taken.

    Returns:
        What `scipy.optimize.milp` returns.
    """
    from scipy.optimize import Bounds, milp

    given = {"mip_rel_gap": gap, "time_limit": seconds}
    options: Any = {name: value for name, value in given.items() if value is not None}
    with silence_stdout():
        return milp(
            objective,
            integrality=np.ones(len(objective), dtype=np.int64),
            bounds=Bounds(0.0, upper),
            constraints=list(constraints),
            options=options,
        )


@contextlib.contextmanager
def silence_stdout() -> Iterator[None]:
    """Drop what this process prints to stdout inside the `with` block, C and C++ code included.

    What was printed before is written first. Lines that the C library still holds at the end are dropped too,
    rather than printed later.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    _flush_library()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        _flush_library()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def _flush_library() -> None:
    with contextlib.suppress(OSError, AttributeError):  # where the C library is not found by no name
        ctypes.CDLL(None).fflush(None)
