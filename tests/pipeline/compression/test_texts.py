"""Text divided by document: parts share none, sources alternate, short text is refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rankadaptor.config import build_compression
from rankadaptor.data import Row
from rankadaptor.errors import InputError
from rankadaptor.pipeline.compression.texts import (
    CALIBRATION,
    JUDGING,
    SEARCH,
    TRAINING,
    divide_documents,
    load_texts,
    mix_documents,
)


def test_parts_share_no_document_and_sources_alternate():
    first = [Row("", f"first document {number} with some words") for number in range(40)]
    second = [Row("", f"second document {number} with some words") for number in range(20)]
    mixed = mix_documents([first, second, first], seed=3)
    assert len(mixed) == 60
    assert mixed == mix_documents([first, second, first], seed=3)
    assert {row.response.partition(" ")[0] for row in mixed[:4]} == {"first", "second"}
    divided = divide_documents(mixed, {JUDGING: 40, SEARCH: 40, CALIBRATION: 40})
    assert sum(map(len, divided.values())) == len({row for rows in divided.values() for row in rows}) == 60
    assert len(divided[TRAINING]) > len(divided[SEARCH]) >= 1


def test_a_part_of_less_than_a_sequence_says_what_would_do(
    tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any
):
    (tmp_path / "text.txt").write_text("\n".join(f"word {number}" for number in range(8)))
    values = {
        "limits": {"size": "1MB"},
        "data": {"text": [str(tmp_path / "text.txt")], "other": None, "length": 64},
    }
    with pytest.raises(InputError, match=r"data\.text: the \w+ text has \d+ tokens .* Give more text"):
        load_texts(build_compression(values), pico_tokenizer, model=pico_model())
    (tmp_path / "text.txt").write_text("one line\n")
    with pytest.raises(InputError, match=r"data\.text has 1 documents, and 4 parts are needed"):
        load_texts(build_compression(values), pico_tokenizer, model=SimpleNamespace())
