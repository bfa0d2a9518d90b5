"""A place to try the command line in: a pico model, forty rows, and a run file that takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config.loading import assign_value


@dataclass(frozen=True)
class Bench:
    """A pico model and its data in a folder of their own, and a run file that would work."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def values(self, **changes: Any) -> dict[str, Any]:
        """The run's values; `section__key=value` changes one."""
        values: dict[str, Any] = {
            "name": "pico",
            "output": str(self.output),
            "model": str(self.model),
            "prune": {"ratio": 0.3, "importance": "l2", "align": 4},
            "data": {"train": str(self.rows), "train_rows": None, "held_out_rows": 8},
            "space": {"ranks": [0, 1, 2, 4], "like_uniform": 2},
            "recipe": {"batch_size": 4, "micro_batch_size": 4, "sequence_length": 32, "tune": None},
            "search": {"predictor": "ridge", "evaluations": 2, "steps": 2, "candidates": 20},
            "confirm": {"seeds": 2},
            "recover": {"steps": 4},
            "evaluate": {"benchmarks": []},
            "track": {"enabled": False},
        }
        for key, value in changes.items():
            assert assign_value(values, key.replace("__", "."), value) is None
        return values

    def command(self, verb: str, **changes: Any) -> list[str]:
        """Write a run file, perhaps with unknown keys in it, and return the command that reads it."""
        path = self.folder / "run.yaml"
        path.write_text(json.dumps(self.values(**changes), indent=1))
        return [verb, str(path)]


def make_bench(
    folder: Path, monkeypatch: pytest.MonkeyPatch, model: Callable[..., Any], tokenizer: Any
) -> Bench:
    """Save a pico model and its data in `folder`."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = Bench(folder, monkeypatch)
    model("llama", blocks=3).save_pretrained(made.model)
    tokenizer.save_pretrained(made.model)
    rows = [
        {"prompt": f"Question: what follows {n}?", "response": f" the number {n + 1}."} for n in range(40)
    ]
    made.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made
