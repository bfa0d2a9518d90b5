"""Integer programs are solved, and nothing of what the solver's library prints is seen."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from rankadaptor.space.integer_program import solve_binary

PROGRAM = """
import ctypes, sys
from rankadaptor.space.integer_program import silence_stdout
library = ctypes.CDLL(None)
library.printf(b"before, from C\\n")
print("before")
with silence_stdout():
    library.printf(b"inside, from C\\n")
library.printf(b"after, from C\\n")
sys.stdout.flush()
library.fflush(None)
"""


def test_what_c_code_prints_inside_is_dropped_and_nothing_else():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = set(found.stdout.splitlines())
    assert lines == {"before", "before, from C", "after, from C"}


def test_a_knapsack_is_solved():
    from scipy.optimize import LinearConstraint

    values, weights = np.array([6.0, 5.0, 4.0]), np.array([3.0, 2.0, 2.0])
    found = solve_binary(-values, [LinearConstraint(weights, -np.inf, 4.0)], gap=0.0, seconds=10.0)
    assert np.rint(found.x).tolist() == [0, 1, 1]
    assert solve_binary(values, [LinearConstraint(weights, 99.0, np.inf)]).x is None
