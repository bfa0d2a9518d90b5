"""The study of scores and latency on a pico model, and its section of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from experiments.slices.latency import measure_latency_errors
from experiments.slices.scores import measure_reuse, measure_speed
from experiments.slices.section import describe_scores
from rankadaptor.data import TokenSequence
from rankadaptor.runtime import choose_compute


def make_sequences(count: int = 6, length: int = 128) -> list[TokenSequence]:
    rows = torch.randint(0, 60, (count, length), generator=torch.Generator().manual_seed(0)).tolist()
    return [TokenSequence(tuple(row), tuple(row)) for row in rows]


def test_scores_are_timed_and_shared_states_change_none(pico_model: Callable[..., Any], pico_tokenizer: Any):
    model = pico_model("llama", blocks=3, hidden_size=64, intermediate_size=128, head_dim=16)
    compute = choose_compute(device="cpu", dtype="float32", threads=1)
    sequences = make_sequences()
    speed = measure_speed(model, pico_tokenizer, sequences, compute=compute, rounds=2)
    assert speed["ratio"] > 0
    reuse = measure_reuse(model, pico_tokenizer, sequences, compute=compute)
    assert reuse["equal"]
    assert reuse["scores"] == 8  # attention and MLP of each block, embedding, output head
    assert reuse["bound"] > 1
    page = describe_scores([{"setting": "pico", **speed}, {"setting": "pico", **reuse}])
    assert f"{reuse['bound']:.2f} times fewer" in page


def test_latency_is_compared_with_the_dense_model_in_turn(
    pico_model: Callable[..., Any], pico_tokenizer: Any, monkeypatch: Any, tmp_path: Any
):
    monkeypatch.setenv("RANKADAPTOR_HOME", str(tmp_path))
    model = pico_model("llama", blocks=3, hidden_size=64, intermediate_size=256, head_dim=16)
    rows = measure_latency_errors(model, pico_tokenizer, rounds=1)
    assert len(rows) == 4
    assert all(0 < row["prompt_planned"] <= 0.7 for row in rows)
    page = describe_scores([{"setting": "pico", **row} for row in rows])
    assert "of 8 are within 10%" in page
    assert describe_scores([]) == ""
