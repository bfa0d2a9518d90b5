"""Lines of progress: one a unit, with the time left of what goes on and of the whole run."""

from __future__ import annotations

import logging
import time

import pytest

from rankadaptor.progress import Outlook, Progress, look_ahead


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="rankadaptor")
    return lambda: [record.getMessage() for record in caplog.records]


def test_one_line_a_unit_and_none_about_zero_seconds(clock, lines):
    with Progress("trial", 4, unit="trials", interval=0.0) as progress:
        progress.skip(1)  # read from disk: it says nothing about the pace
        progress.advance(0, note="uniform")
        for note in ("a", "b", "c"):
            clock[0] += 60
            progress.advance(note=note)
    assert lines() == [
        "trial 1/4 trials · uniform",
        "trial 2/4 trials · a · ETA 2 min 00 s",
        "trial 3/4 trials · b · ETA 1 min 00 s",
        "trial 4/4 trials · c · done in 3 min 00 s",
    ]


def test_an_early_end_is_told_and_an_interval_kept(clock, lines):
    with Progress("steps", 100) as progress:
        for _ in range(12):
            clock[0] += 1
            progress.advance()
    assert lines() == ["steps 10/100 · ETA 1 min 30 s", "steps: 12 done in 12 s"]


def test_the_whole_run_is_foreseen_by_what_was_measured(clock, lines):
    outlook = Outlook(
        {"prepare": 5.0, "search": 100.0, "confirm": 50.0, "evaluate": 30.0}, measured=("search", "confirm")
    )
    outlook.skip("evaluate")
    with look_ahead(outlook):
        with outlook.follow("prepare"):
            clock[0] += 500  # a download says nothing about fine-tunes
            assert outlook.count_later(0.5) == 150
        with outlook.follow("search"), Progress("search", 2, interval=0.0) as search:
            with Progress("fine-tune", 10) as inner:
                clock[0] += 65
                inner.advance(5)  # a quarter of the search took 65 s, where 25 s were planned
                clock[0] += 35
                inner.advance(5)  # its end is the search's to tell
            search.advance(note="first")
            clock[0] += 100
            search.advance(note="second")
        assert outlook.count_later(0.0) == 100
    assert lines() == [
        "fine-tune 5/10 · ETA 1 min 05 s, of the run 5 min 25 s",
        "search 1/2 · first · ETA 1 min 40 s, of the run 3 min 20 s",
        "search 2/2 · second · ETA of the run 1 min 40 s",
    ]
