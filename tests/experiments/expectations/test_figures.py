"""What README says of gains follows from the rows, either way."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.expectations.figures import write_expectations
from rankadaptor.errors import InputError

RUN = {
    "run": {"config": {"space": {"like_uniform": 8}, "recover": {"steps": 16}}},
    "result": {
        "losses": {"dense": 2.0, "pruned": 4.0},
        "recovered": {"uniform": {"loss": 2.5}},
        "pruning": {"achieved_ratio": 0.2},
    },
}


def make_rows(*gains: float) -> list[dict[str, Any]]:
    """Make the rows of two jobs and two settings, with these gains of searched ranks over five seeds."""
    return [
        {
            "job": job,
            "setting": setting,
            "method": method,
            "steps": 256,
            "loss": loss + (0.2 if (job, setting) == ("long", "a") else 0.0),
            "gains": list(gains) if method == "ours" else [0.0] * len(gains),
        }
        for job in ("full", "long")
        for setting, loss in (("a", 5.0), ("b", 4.0))
        for method in ("uniform", "ours")
    ]


def test_the_three_figures_are_those_of_the_rows() -> None:
    recovery, ranks, rate = write_expectations(RUN, make_rows(0.001, -0.001, 0.0)).splitlines()
    assert "from 4.0000 to 2.5000" in recovery
    assert "75.0 % of the loss" in recovery
    assert "gain nothing measurable" in ranks
    assert "+0.0000 nats" in ranks
    assert "+0.2000, +0.0000 nats per token in 2 settings" in rate


def test_a_gain_that_chance_does_not_explain_is_said() -> None:
    assert "ranks are better" in write_expectations(RUN, make_rows(0.1, 0.11, 0.12))
    assert "ranks are worse" in write_expectations(RUN, make_rows(-0.1, -0.11, -0.12))


def test_a_missing_job_is_named() -> None:
    rows = [row for row in make_rows(0.1, 0.2) if row["job"] != "long"]
    with pytest.raises(InputError, match=r"compare/long\.yaml"):
        write_expectations(RUN, rows)
