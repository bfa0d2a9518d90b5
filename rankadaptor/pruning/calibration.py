"""Calibration text as equal windows of token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rankadaptor.data.model_limits import check_length, check_tokens, find_positions
from rankadaptor.data.rows import load_rows
from rankadaptor.data.windows import encode_document
from rankadaptor.errors import InputError


def make_calibration(
    source: Any, tokenizer: Any, *, examples: int, length: int, seed: int, model: Any | None = None
) -> torch.Tensor:
    """Draw windows of `length` tokens from any text source.

    As in LLM-Pruner, a row that is long enough gives one window at a random position. Shorter rows are joined
    with the end-of-sequence token first, so instruction data works too. If there are too few rows, the rest
    of long rows is used.

    Args:
        source: Anything that `load_rows` accepts: texts, rows, a file, or `kit:NAME`.
        tokenizer: The model's tokenizer.
        examples: Number of windows.
        length: Tokens per window.
        seed: Seed of the shuffle and of the positions.
        model: If given, its vocabulary and positions are checked against the windows.

    Returns:
        Token ids `(examples, length)`.

    Raises:
        InputError: If a number is below one, the text is too short, or the model cannot read it.
    """
    if examples < 1 or length < 2:
        raise InputError(f"examples={examples}, length={length}: at least 1 example of 2 tokens.")
    if model is not None:
        check_length(length, find_positions(model.config.to_dict()), what="length")
    rows = load_rows(source)
    generator = np.random.default_rng(seed)
    windows: list[list[int]] = []
    joined: list[int] = []
    rest: list[list[int]] = []
    tokens = 0
    for place in generator.permutation(len(rows)):
        ids = encode_document(rows[place], tokenizer, place=f"row {place}")
        if model is not None:
            check_tokens(ids, tokenizer, model)
        tokens += len(ids)
        if len(ids) < length:
            joined += ids if tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]
            if len(joined) < length:
                continue
            ids, joined = joined[:length], joined[length:]
        start = int(generator.integers(len(ids) - length + 1))
        windows.append(ids[start : start + length])
        rest += [ids[:start], ids[start + length :]]
        if len(windows) == examples:
            return torch.tensor(windows)
    windows += [part[i : i + length] for part in rest for i in range(0, len(part) - length + 1, length)]
    if len(windows) >= examples:
        return torch.tensor(windows[:examples])
    raise InputError(
        f"The calibration text gives {len(windows)} windows of {length} tokens from {len(rows)} rows "
        f"({tokens} tokens), but examples={examples} are asked for. Give more text, or lower one of them."
    )
