"""The report of a whole run at pico size: it says what was run, and its code uses what the run left."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest


def read_code(page: str, name: str) -> str:
    found = re.search(rf'<pre id="code-{name}">(.*?)</pre>', page, re.DOTALL)
    assert found, f"the report shows no code to {name}"
    return html.unescape(found[1])


def test_the_report_says_what_was_run_and_how_to_use_it(
    undisturbed: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    document, folder = undisturbed
    page = (folder / "report.html").read_text(encoding="utf-8")
    card = (folder / "adapters" / "uniform" / "README.md").read_text(encoding="utf-8")
    assert document["result"]["verdict"]["steps"] == 2
    for text in (page, card):
        text = html.unescape(text)
        assert "2 pairs of 2-step fine-tunes on fresh seeds (the recovery has 4 steps)" in text
        assert "ridge, which learns from this search alone" in text
        assert "4 steps for each of uniform, searched; one seed" in text
        assert "rankadaptor 0." in text

    # Its code, in the run's folder: adapter on the pruned model, then both merged, saved and loaded again.
    for part in ("pruned", "adapters"):
        shutil.copytree(folder / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    inputs = torch.arange(3, 15).reshape(1, -1)
    names: dict[str, Any] = {}
    exec(read_code(page, "load"), names)
    assert isinstance(names["model"], PeftModel)
    with torch.no_grad():
        expected = names["model"].eval()(input_ids=inputs).logits
        exec(read_code(page, "merge"), names)
        merged = AutoModelForCausalLM.from_pretrained("merged", trust_remote_code=True)
        closeness = 1e-4 if expected.dtype is torch.float32 else 0.05  # merging rounds in the run's precision
        assert (merged.eval()(input_ids=inputs).logits - expected).abs().max() < closeness
    assert len(names["tokenizer"]) > 0
