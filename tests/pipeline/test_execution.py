"""Trials side by side never outnumber the cores; a cluster's are its own."""

from __future__ import annotations

from typing import Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.pipeline.execution import count_local_workers, count_trial_workers


@pytest.mark.parametrize(
    ("cores", "asked", "running"),
    [
        (2, {"workers": 2}, 2),
        (2, {"workers": 8}, 2),
        (8, {"workers": 8, "threads": 3}, 2),
        (2, {"workers": 1, "threads": 4}, 1),
        (1, {"workers": 4}, 1),
    ],
)
def test_workers_are_as_many_as_find_a_core(
    cores: int,
    asked: dict[str, Any],
    running: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rankadaptor.runtime.count_cores", lambda: cores)
    config = build_run({"compute": asked})
    assert count_trial_workers(config) == count_local_workers(config) == running
    assert ("more than the cores" in caplog.text) == (running < asked["workers"])


def test_a_cluster_has_cores_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rankadaptor.runtime.count_cores", lambda: 2)
    config = build_run({"compute": {"executor": "ray", "workers": 64}})
    assert count_trial_workers(config) == 64
    assert count_local_workers(config) == 1
