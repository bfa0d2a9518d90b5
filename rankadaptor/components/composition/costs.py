"""What each option costs: parameters, multiply-accumulates per token, bytes of the file. No torch import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankadaptor.components.precision import Format
from rankadaptor.components.width import Half

PARAMETERS, MACS, BYTES = "parameters", "macs", "bytes"
MACS_LENGTH = 64
"""Tokens of the sequence in which multiply-accumulates of a token are counted, as in `describe_model`."""
ALIGNMENT = 32
VECTOR_BYTES = 4  # norms and biases are F32
HEADER = 1 << 16  # room for the metadata


@dataclass(frozen=True)
class End:
    """The embedding, or the output head of a model.

    Attributes:
        name: Name of its slot, `embedding` or `output`.
        module: Full name of the module.
        rows: Number of tokens.
        columns: Hidden size.
        parameters: Parameters that it adds to the model.
        multiplied: Whether every token is multiplied with it.
    """

    name: str
    module: str
    rows: int
    columns: int
    parameters: int
    multiplied: bool


def describe_ends(model: Any) -> list[End]:
    """Describe the embedding, and the output head where it is not tied to it."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    tied = embedding.weight is head.weight
    rows, columns = embedding.weight.shape
    ends = [End("embedding", names[id(embedding)], rows, columns, rows * columns, multiplied=tied)]
    if not tied:
        rows, columns = head.weight.shape
        ends.append(End("output", names[id(head)], rows, columns, rows * columns, multiplied=True))
    return ends


def count_fixed_parameters(model: Any, halves: Sequence[Half], ends: Sequence[End]) -> int:
    """Count the parameters that no choice changes: the last norm."""
    chosen = sum(half.count_parameters(half.full) for half in halves) + sum(end.parameters for end in ends)
    return int(model.num_parameters()) - chosen


def count_half_bytes(half: Half, width: int, kind: Format | None) -> int:
    """Count the bytes that a half adds to the file."""
    if not width or kind is None:
        return 0
    total = sum(pad(VECTOR_BYTES * length) for length in half.others)
    for part in half.parts:
        rows, columns = part.shape(width)
        total += pad(kind.count_bytes(rows, columns)) + (pad(VECTOR_BYTES * rows) if part.bias else 0)
    return total


def count_end_bytes(end: End, kind: Format) -> int:
    """Count the bytes that the embedding or the output head adds to the file."""
    return pad(kind.count_bytes(end.rows, end.columns))


def pad(size: int) -> int:
    """Round up to the alignment of the file."""
    return -(-size // ALIGNMENT) * ALIGNMENT
