"""The examples of README and of the rank search run as they stand, on a pico model and at short lengths."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor import compress
from rankadaptor.progress import Progress, show_progress
from tests.documents import ROOT, find_blocks
from tests.evaluation.items import make_rows
from tests.predictor.oracle import make_space

RANKS = ROOT / "docs/how-to/search-ranks.md"
SHORT: dict[str, Any] = {
    "compute": {"threads": 1},
    "data": {"other": None, "length": 16, "search_sequences": 8, "judge_sequences": 12},
    "choices": {"importance_rows": 4, "types": ["Q8_0", "Q4_0"], "embedding": ["Q8_0", "Q4_0"]},
    "search": {"evaluations": 20, "screen_sequences": 4, "finalists": 1},
    "recover": {"steps": 2, "finalist_steps": 1, "rank": 2, "batch_size": 4, "learning_rates": [1e-3]},
    "references": ["stock"],
    "stock_types": ["Q4_0"],
    "export": {"prompt": 32, "generated": 4, "check_tokens": 8},
    "track": {"enabled": False},
}


def make_texts(count: int) -> list[str]:
    return [f"Row {number} says that {number} and {number + 1} are neighbours." for number in range(count)]


def shrink_example(model: Path) -> tuple[str, str]:
    """Return the two Python blocks of the rank search, with a small model, texts and short lengths."""
    smaller = {
        '"kit:smollm2-135m"': repr(str(model)),
        'ra.load_rows("kit:alpaca", limit=2000)': repr(make_texts(400)),
        '"kit:boolq-passages"': repr(make_texts(20)),
        "steps=24": "steps=2",
        "evaluations=12": "evaluations=2",
        "seeds=5": "seeds=2",
        "verdict.allocation, data=train_rows": "verdict.allocation, data=train_rows, steps=3",
    }
    making, loading = find_blocks(RANKS, "python")
    for shown, used in smaller.items():
        assert making.count(shown) == 1, f"{RANKS} no longer shows {shown}"
        making = making.replace(shown, used)
    return making, loading


@pytest.fixture
def pico_folder(tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any) -> Path:
    folder = tmp_path / "pico"
    pico_model("llama", 3).save_pretrained(folder)
    pico_tokenizer.save_pretrained(folder)
    return folder


def test_the_readme_compresses_a_model(
    tmp_path: Path,
    pico_model: Callable[..., Any],
    pico_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, text = tmp_path / "pico", tmp_path / "text.txt"
    pico_model("llama", blocks=3, hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(source)
    pico_tokenizer.save_pretrained(source)
    text.write_text("\n".join(make_texts(150)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (example,) = find_blocks(ROOT / "README.md", "python")
    short = {**SHORT, "data": {**SHORT["data"], "text": [str(text)]}}
    for shown, used in {
        '"kit:smollm2-135m"': repr(str(source)),
        '"60MB"': '"64KB"',
        'output="runs/small"': 'output="runs/small", **short',
    }.items():
        assert example.count(shown) == 1, f"the README no longer shows {shown}"
        example = example.replace(shown, used)
    names: dict[str, Any] = {"short": short}
    exec(compile(example, "README.md", "exec"), names)
    small = names["small"]
    assert (
        Path("runs/small/model.gguf").stat().st_size == small.document["result"]["export"]["bytes"] <= 64_000
    )
    assert capsys.readouterr().out.startswith(f"{small.headline}\n{small.file} {small.report}")
    assert small.report.is_file()
    assert names["model"].config.model_type == "llama"
    again = compress(source, size="64KB", output="runs/small", **short)
    assert again.document["result"] == small.document["result"]  # the same call continues the run


def test_the_example_runs(tmp_path: Path, pico_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from datasets import Dataset

    from rankadaptor import describe_model, load, load_adapter
    from rankadaptor.model import digest_model

    # The kit's benchmarks with rows of our own: no download.
    monkeypatch.setattr(
        "rankadaptor.kit.load_benchmark_rows", lambda name: Dataset.from_list(make_rows(name))
    )
    monkeypatch.chdir(tmp_path)
    making, loading = shrink_example(pico_folder)
    names: dict[str, Any] = {}
    exec(compile(making, "README.md", "exec"), names)

    assert names["space"].bounds == (names["space"].reference().cost(),)
    assert len(names["result"].records) == 2
    assert names["verdict"].outcome in ("better", "no difference", "worse")
    assert names["scores"].names == ("boolq", "piqa")
    # Every result is shown in a few lines.
    for name in ("verdict", "result", "space", "scores", "predictor", "measure"):
        assert len(repr(names[name])) < 400, name
    assert str(names["verdict"]) == names["verdict"].describe()
    assert len(repr(names["result"].records[0])) < 600
    assert len(repr(make_space(blocks=40).reference())) < 100

    # What the example saved loads as the next block says, and gives the same logits.
    exec(compile(loading, "README.md", "exec"), names)
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        expected = names["adapter"](tokens).logits
        assert torch.equal(names["recovered"](tokens).logits, expected)
        again = load_adapter(load(tmp_path / "out" / "pruned")[0], tmp_path / "out" / "adapter")
        assert torch.equal(again(tokens).logits, expected)
    assert digest_model(names["pruned"]) == digest_model(load(tmp_path / "out" / "pruned")[0])
    assert describe_model(names["pruned"])["parameters"] < describe_model(names["model"])["parameters"]
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert str(names["verdict"]) in card
    assert "trained for 3 optimiser steps" in card


def test_progress_is_shown_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = logging.getLogger("rankadaptor")
    monkeypatch.setattr(own, "propagate", False)  # as in a program that sets up no logging
    monkeypatch.setattr(own, "handlers", [])
    show_progress()
    show_progress()
    with Progress("search", 2, interval=0.0) as progress:
        progress.advance()
    assert capsys.readouterr().err.count("search 1/2") == 1
