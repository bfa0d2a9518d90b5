from __future__ import annotations

import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.pruning.calibration import make_calibration

TEXTS = ["The quick brown fox jumps over the lazy dog. " * 4, "Short.", "Also short.", "And this one too."]


def test_windows_come_from_texts_files_and_rows_alike(pico_tokenizer, tmp_path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("\n".join(TEXTS))
    options = {"examples": 2, "length": 10, "seed": 0}
    windows = make_calibration(TEXTS, pico_tokenizer, **options)
    assert windows.shape == (2, 10)
    assert torch.equal(windows, make_calibration(file, pico_tokenizer, **options))
    assert torch.equal(
        windows, make_calibration([{"text": text} for text in TEXTS], pico_tokenizer, **options)
    )
    assert not torch.equal(windows, make_calibration(TEXTS, pico_tokenizer, examples=2, length=10, seed=3))


def test_short_rows_are_joined_with_the_end_token(pico_tokenizer) -> None:
    windows = make_calibration(TEXTS[1:], pico_tokenizer, examples=1, length=24, seed=0)
    assert pico_tokenizer.eos_token_id in windows[0].tolist()


def test_one_long_text_gives_many_windows(pico_tokenizer) -> None:
    text = " ".join(f"{number} bridges" for number in range(100))
    windows = make_calibration([text], pico_tokenizer, examples=6, length=16, seed=0)
    assert len({tuple(window) for window in windows.tolist()}) == 6


def test_too_little_text_says_how_much_there_is(pico_tokenizer) -> None:
    with pytest.raises(InputError, match=r"gives \d windows of 60 tokens from 4 rows .*examples=9"):
        make_calibration(TEXTS, pico_tokenizer, examples=9, length=60, seed=0)
    with pytest.raises(InputError, match="examples=0"):
        make_calibration(TEXTS, pico_tokenizer, examples=0, length=60, seed=0)
