"""The study of roundings on a pico model: its rows, which are measured once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.rounding.__main__ import main
from rankadaptor.files import read_json, write_text


def test_rows_are_measured_once_and_a_training_through_rounding_is_better(
    pico_model: Callable[..., Any], pico_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pico_model("llama", blocks=2, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(tmp_path / "model")
    pico_tokenizer.save_pretrained(tmp_path / "model")
    write_text(
        tmp_path / "text.txt", "\n".join(f"Line {n}: {n * 7 % 13} and {n * n % 17}." for n in range(120))
    )
    write_text(tmp_path / "other.txt", "\n".join(f"{n} plus {n + 1} is {2 * n + 1}." for n in range(120)))
    write_text(
        tmp_path / "run.yaml",
        "job: compress\nmodel: model\nlimits: {size: 80KB}\n"
        "data: {text: [text.txt], other: other.txt, length: 16, search_sequences: 8, judge_sequences: 12}\n"
        "choices: {importance_rows: 4}\nrecover: {steps: 12, rank: 2, batch_size: 4}\n",
    )
    result = tmp_path / "rounding.json"
    arguments = ["--file", str(tmp_path / "run.yaml"), "--types", "A2G32", "IQ4_NL", "--rates", "0.01"]
    changes = ["--set", f"output={tmp_path / 'out'}", "--set", "compute.dtype=float32"]
    monkeypatch.setattr(sys, "argv", ["rounding", *arguments, *changes, "--into", str(result)])
    main()
    rows = read_json(result)
    losses = {(row["type"], row["training"]): row["loss_judging"] for row in rows}
    assert set(losses) == {(None, "float")} | {
        (kind, training)
        for kind in ("A2G32", "IQ4_NL")
        for training in ("none", "rounded afterwards", "fixed", "derived")
    }
    assert losses["A2G32", "fixed"] < losses["A2G32", "none"]
    assert losses[None, "float"] < losses["A2G32", "rounded afterwards"]
    main()
    assert read_json(result) == rows
