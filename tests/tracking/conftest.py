"""One sqlite store for the whole folder: making its tables takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.tracking.store import connect


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """A store with its tables made, whichever test comes first."""
    folder = Path(tmp_path_factory.mktemp("store")) / "mlruns"
    connect(folder)
    return folder


@pytest.fixture
def config(store, request, tmp_path, monkeypatch) -> Callable[..., RunConfig]:
    """Return a factory of run configurations that log to an experiment of the test's own."""
    monkeypatch.chdir(tmp_path)  # so that a test sees what MLflow leaves in the current folder

    def build(**track: Any) -> RunConfig:
        given = {"uri": str(store), "experiment": request.node.name} | track
        return RunConfig(name="pico", track=given)

    yield build
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def record() -> Callable[..., Record]:
    """Return a factory of records of a setting with two slots."""

    def build(*values: int, seed: int = 0, gain: float | None = 0.01, **changes: Any) -> Record:
        fields: dict[str, Any] = {
            "setting": "pico",
            "values": values,
            "seed": seed,
            "steps": 24,
            "fidelity": 0.24,
            "loss": None if gain is None else 4.0 - gain,
            "loss_reference": 4.0,
            "parameters": 1024,
            "tokens": 24_576,
            "seconds": 3.5,
            "status": "failed" if gain is None else "ok",
            "error": "loss became NaN at step 3" if gain is None else None,
        }
        return Record.of_fine_tune(**(fields | changes))

    return build
