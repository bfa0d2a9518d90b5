"""Tokenizers that came from SentencePiece, as Llama 2's and Mistral's: BPE over characters, or else bytes.

llama.cpp merges any two neighbours whose join is a token, that with the highest score first. A list of merges
says the same if it holds every such pair and all pairs of one token stand together. SentencePiece models
convert into lists of this kind; other tokenizers rarely do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

SPACE = "▁"
UNKNOWN, BYTE = 2, 6  # kinds of tokens, as llama.cpp numbers them
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def is_sentencepiece(described: Mapping[str, Any]) -> bool:
    """Tell whether the description of a tokenizer (`tokenizer.json`) is of this kind."""
    return bool(described["model"].get("byte_fallback"))


def read_pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the merges of a model, which are written as lists or as text with a space."""
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return [(left, right) for left, right in pairs]


def find_fault(described: Mapping[str, Any]) -> str | None:
    """Say what llama.cpp would do differently from such a tokenizer; None if nothing."""
    model = described["model"]
    vocabulary: Mapping[str, int] = model["vocab"]
    if sum(_BYTE.fullmatch(text) is not None for text in vocabulary) != 256:
        return "falls back to bytes that are not all in its vocabulary"
    if find_prefix(described) is None:
        return "replaces or splits spaces in a way of its own"
    pairs = read_pairs(model)
    joined = [text for text, _ in groupby(left + right for left, right in pairs)]
    if len(set(joined)) < len(joined):
        return "merges in an order that scores of tokens cannot express"
    known = set(pairs)
    for text in joined:
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocabulary and right in vocabulary and (left, right) not in known:
                return f"never merges {left!r} with {right!r}, although their join is a token"
    return None


def find_prefix(described: Mapping[str, Any]) -> bool | None:
    """Tell whether a text gets a space in front; None if spaces are not handled as SentencePiece does."""
    steps = _flatten(described.get("normalizer"), "normalizers")
    steps += _flatten(described.get("pre_tokenizer"), "pretokenizers")
    replaces, prefix = False, False
    for step in steps:
        kind = step["type"]
        if kind == "Prepend" and step.get("prepend") == SPACE:
            prefix = True
        elif kind == "Replace" and step.get("content") == SPACE and step["pattern"] == {"String": " "}:
            replaces = True
        elif kind == "Metaspace" and step.get("replacement") == SPACE and not step.get("split", True):
            replaces, prefix = True, prefix or step.get("prepend_scheme") in ("always", "first")
        else:
            return None
    return prefix if replaces else None


def count_scores(described: Mapping[str, Any], tokens: Sequence[str]) -> list[float]:
    """Return the score of each token: the earlier it is merged, the higher."""
    joined = (text for text, _ in groupby(left + right for left, right in read_pairs(described["model"])))
    order = {text: -float(place) for place, text in enumerate(joined)}
    last = -float(len(order))
    return [order.get(text, last) for text in tokens]


def find_kind(text: str, *, unknown: str | None) -> int | None:
    """Return the kind of a token that is not an ordinary one; None for all others."""
    if text == unknown:
        return UNKNOWN
    return BYTE if _BYTE.fullmatch(text) else None


def _flatten(step: Mapping[str, Any] | None, inner: str) -> list[Mapping[str, Any]]:
    if step is None:
        return []
    return (
        [each for part in step[inner] for each in _flatten(part, inner)]
        if step["type"] == "Sequence"
        else [step]
    )
