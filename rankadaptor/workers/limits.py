"""Time limits after which a worker counts as hung."""

from __future__ import annotations

FACTOR = 10.0
"""A job may take this many times what the slowest so far took for the same work."""
LEAST = 600.0
"""Seconds that a job may always take, unless a limit was given."""


class TimeLimit:
    """A time limit given by the user, or derived from finished jobs.

    The derived limit is ten times the time per unit of work of the slowest job, and at least ten minutes.
    There is none until the first job has ended.
    """

    def __init__(self, given: float | None = None, *, least: float = LEAST) -> None:
        self.given, self.least = given, least
        self._rate = 0.0
        self._shortest: float | None = None

    def observe(self, seconds: float, work: float) -> None:
        """Note that a job of `work` units ended after `seconds`."""
        self._rate = max(self._rate, seconds / max(work, 1e-9))
        self._shortest = seconds if self._shortest is None else min(self._shortest, seconds)

    def allow(self, work: float) -> float | None:
        """Return the seconds that a job of `work` units may take; None while nothing is known."""
        if self.given is not None:
            return self.given
        if self._shortest is None:
            return None
        # The measurement on the held-out rows does not depend on the number of steps.
        return max(FACTOR * max(self._rate * work, self._shortest), self.least)
