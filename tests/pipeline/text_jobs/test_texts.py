"""The texts of a run: as many windows as asked for, a share each where the text is short, a remedy below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import CompressConfig, build_compression
from rankadaptor.errors import InputError
from rankadaptor.pipeline.text_jobs.texts import CALIBRATION, JUDGING, SEARCH, TRAINING, load_texts


def make_run(text: Path, **data: Any) -> CompressConfig:
    values = {
        "limits": {"size": "1MB"},
        "choices": {"importance_rows": 2},
        "search": {"screen_sequences": 1},
        "data": {"text": [str(text)], "other": None, "length": 16, **data},
    }
    return build_compression(values)


def test_parts_share_a_short_text(tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"document {number} about a quick brown fox" for number in range(120)))
    model = pico_model()
    run = make_run(text, judge_sequences=4, search_sequences=3)
    texts = load_texts(run, pico_tokenizer, model=model, training=1000)
    counts = {name: entry["sequences"] for name, entry in texts.describe().items()}
    assert counts[JUDGING] == 4
    assert counts[SEARCH] == 3
    assert counts[CALIBRATION] == 2
    assert counts[TRAINING] > 4  # fewer than the fine-tune reads: it reads them again
    assert {len(sequence) for part in texts.parts.values() for sequence in part} == {16}
    again = load_texts(run, pico_tokenizer, model=model, training=1000)
    assert again == texts


def test_a_text_below_one_window_a_part_says_what_would_do(
    tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any
):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"word {number}" for number in range(8)))
    with pytest.raises(InputError, match=r"too little text for the \w+ set: .* Give more text"):
        load_texts(make_run(text, length=64), pico_tokenizer, model=pico_model(), training=1000)
