"""The README's example runs as it stands, with a pico model and short lengths in place of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT, find_blocks
from tests.evaluation.items import make_rows


def read_example() -> str:
    (block,) = find_blocks(ROOT / "README.md", "python")
    return block


def make_texts(count: int) -> list[str]:
    return [f"Row {number} says that {number} and {number + 1} are neighbours." for number in range(count)]


@pytest.fixture
def pico_folder(tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any) -> Path:
    folder = tmp_path / "pico"
    pico_model("llama", 3).save_pretrained(folder)
    pico_tokenizer.save_pretrained(folder)
    return folder


def test_the_example_runs(tmp_path: Path, pico_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from datasets import Dataset
    from peft import PeftModel

    from rankadaptor import load, save_pruned
    from rankadaptor.recovery import detach_adapter

    # The kit's benchmarks with rows of our own: no download.
    monkeypatch.setattr(
        "rankadaptor.kit.load_benchmark_rows", lambda name: Dataset.from_list(make_rows(name))
    )
    smaller = {
        '"kit:smollm2-135m"': repr(str(pico_folder)),
        "steps=24": "steps=2",
        "evaluations=12": "evaluations=2",
        "seeds=5": "seeds=2",
        "verdict.allocation, data=train_rows": "verdict.allocation, data=train_rows, steps=3",
        '"out/adapter"': repr(str(tmp_path / "adapter")),
    }
    example = read_example()
    for shown, used in smaller.items():
        assert example.count(shown) == 1, f"the README no longer shows {shown}"
        example = example.replace(shown, used)
    names: dict[str, Any] = {"calibration_texts": make_texts(20), "train_rows": make_texts(400)}
    exec(compile(example, "README.md", "exec"), names)

    assert names["space"].budget == names["space"].uniform().cost
    assert len(names["result"].records) == 2
    assert names["verdict"].outcome in ("better", "no difference", "worse")
    assert names["scores"].names == ("boolq", "piqa")

    # The adapter that the example saved is plain PEFT: on the saved pruned model it gives the same logits.
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        expected = names["adapter"](tokens).logits
        detach_adapter(names["adapter"])
        save_pruned(names["pruned"], names["tokenizer"], tmp_path / "pruned")
        again = PeftModel.from_pretrained(load(tmp_path / "pruned")[0], tmp_path / "adapter").eval()
        assert torch.equal(again(tokens).logits, expected)
