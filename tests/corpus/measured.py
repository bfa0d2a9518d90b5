"""Settings and records as a measurement would leave them."""

from __future__ import annotations

from typing import Any

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import Record, Setting
from tests.space.shapes import build_linears

SPACE = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="pico")


def build_setting(name: str = "pico-third", **changes: Any) -> Setting:
    fields: dict[str, Any] = {
        "name": name,
        "model": {"name": "pico", "digest": "0123"},
        "pruning": {"ratio": 0.3},
        "data": {"rows": "alpaca", "digest": "4567"},
        "recipe": {"learning_rate": 2e-3, "scaling_exponent": 1.0, "steps": 100},
        "space": SPACE.to_json(),
        "held_out": False,
        "pruned_loss": 5.0,
        "dense_loss": 4.0,
    }
    return Setting(**(fields | changes))


def build_record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "setting": "pico-third",
        "values": SPACE.reference().values,
        "seed": 0,
        "steps": 24,
        "fidelity": 0.24,
        "loss": 4.19,
        "loss_reference": 4.2,
        "parameters": 1000,
        "tokens": 24_576,
        "seconds": 61.5,
        "commit": "abc",
        "created": "2025-01-02T03:04:05+00:00",
    }
    return Record.of_fine_tune(**(fields | changes))
