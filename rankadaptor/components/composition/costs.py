"""What each option costs: parameters, multiply-accumulates, bytes of the file, time on the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rankadaptor.components.precision import Format, Grid
from rankadaptor.components.width import Half
from rankadaptor.engine.file_plan import Chosen, PlannedTensor, align, plan_attention, plan_file, plan_mlp
from rankadaptor.engine.file_plan import ModelShape as FileShape
from rankadaptor.model.families import ATTENTION, BlockShape

PARAMETERS, MACS, BYTES = "parameters", "macs", "bytes"
PROMPT, GENERATE = "prompt_nanoseconds", "generate_nanoseconds"
MACS_LENGTH = 64
"""Tokens of the sequence in which multiply-accumulates of a token are counted, as in `describe_model`."""

ANY_WIDTH = "F16"
Matrix = tuple[int, int, str]
"""Rows, columns and type of a matrix in the file."""


class LatencyModel(Protocol):
    """How long the engine takes for the parts of a model, per token."""

    def time_part(self, part: str, matrices: Sequence[Matrix], *, heads: int) -> Mapping[str, float]:
        """Return nanoseconds per token by resource, `prompt_nanoseconds` and `generate_nanoseconds`.

        Args:
            part: `attention`, `mlp`, `embedding`, `output` (a tied embedding too), or `fixed`.
            matrices: What the part multiplies with, as the file holds it; none where it is left out.
            heads: Query heads of an attention, else 0.
        """


@dataclass(frozen=True)
class End:
    """The embedding, or the output head of a model.

    Attributes:
        name: Name of its slot, `embedding` or `output`.
        module: Full name of the module.
        rows: Number of tokens.
        columns: Hidden size.
        multiplied: Whether every token is multiplied with it.
    """

    name: str
    module: str
    rows: int
    columns: int
    multiplied: bool

    @property
    def parameters(self) -> int:
        """Parameters that it adds to the model."""
        return self.rows * self.columns


def describe_ends(model: Any) -> list[End]:
    """Describe the embedding, and the output head where it is not tied to it."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    tied = embedding.weight is head.weight
    rows, columns = embedding.weight.shape
    ends = [End("embedding", names[id(embedding)], rows, columns, multiplied=tied)]
    if not tied:
        rows, columns = head.weight.shape
        ends.append(End("output", names[id(head)], rows, columns, multiplied=True))
    return ends


def count_fixed_parameters(model: Any, halves: Sequence[Half], ends: Sequence[End]) -> int:
    """Count the parameters that no choice changes: the last norm."""
    chosen = sum(half.count_parameters(half.full) for half in halves) + sum(end.parameters for end in ends)
    return int(model.num_parameters()) - chosen


@dataclass(frozen=True)
class Stored:
    """What an option puts into the file: its bytes, and the matrices that tokens are multiplied with."""

    bytes: int
    matrices: tuple[Matrix, ...]


@dataclass(frozen=True)
class FileCosts:
    """Sizes of the parts of a model's GGUF file, which add up to the file.

    Attributes:
        shape: What decides the tensors of the file.
        fixed: Bytes that no choice changes: the header and the last norm.
    """

    shape: FileShape
    fixed: int

    def store_half(self, half: Half, width: int, kind: Format | None) -> Stored:
        """Return what a half at a width puts into the file; a dropped one may leave zeros there."""
        name = ANY_WIDTH if kind is None or isinstance(kind, Grid) else kind.name
        if half.kind == ATTENTION:
            heads = width * half.query_heads
            widths = BlockShape(half.block, heads, width, half.head_dim, 0)
            tensors = plan_attention(self.shape, widths, Chosen({}, name))
        else:
            widths = BlockShape(half.block, 0, 0, half.head_dim, width)
            tensors = plan_mlp(self.shape, widths, Chosen({}, name))
        stored = [_store(tensor, kind) for tensor in tensors]
        return Stored(
            bytes=sum(each.bytes for each in stored),
            matrices=tuple(matrix for each in stored for matrix in each.matrices),
        )

    def store_end(self, end: End, kind: Format) -> Stored:
        """Return what the embedding or the output head puts into the file."""
        size = align(kind.count_bytes(end.rows, end.columns))
        return Stored(size, ((end.rows, end.columns, kind.name),))


def _store(tensor: PlannedTensor, kind: Format | None) -> Stored:
    if len(tensor.shape) != 2:
        return Stored(tensor.bytes, ())
    rows, columns = tensor.shape
    if tensor.sources and isinstance(kind, Grid):  # a file holds no grids: what they would take
        return Stored(align(kind.count_bytes(rows, columns)), ((rows, columns, kind.name),))
    return Stored(tensor.bytes, ((rows, columns, tensor.type),))


def plan_costs(model: Any, tokenizer: Any, *, context: int | None) -> FileCosts:
    """Prepare the sizes of a model's file.

    Args:
        model: The model.
        tokenizer: Its tokenizer; None leaves its entries out of the header.
        context: Longest text in tokens that the engine is told; see `write_gguf`.

    Raises:
        InputError: If GGUF cannot express the model; the message says why.
    """
    from rankadaptor.engine.gguf_file import prepare_file
    from rankadaptor.engine.model_fields import list_model_fields, read_shape

    if tokenizer is not None:
        prepared = prepare_file(model, tokenizer, default_type=ANY_WIDTH, context=context)
        return FileCosts(prepared.shape, prepared.plan.fixed)
    shape, chosen = read_shape(model), Chosen({}, ANY_WIDTH)
    fields = list_model_fields(shape, model.config, chosen=chosen, context=context)
    return FileCosts(shape, plan_file(shape, fields, default_type=ANY_WIDTH).fixed)
