"""The exact size of a GGUF file, tensor by tensor, before anything is written. No import of torch or gguf.

A file is a header, whose length depends on the model's family, number of blocks and tokenizer alone, and
tensors, whose bytes depend on nothing but their own shape and type. So the size is a sum over tensors plus a
constant, whatever widths and types are chosen. One padding string makes up for the entries that a pruned
model lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rankadaptor.engine.types import find_type
from rankadaptor.errors import InputError
from rankadaptor.model.families import BlockShape

ALIGNMENT = 32  # of the data of tensors
CHANNEL_STEP = 32  # MLP widths in the file are multiples of it
ROOM = 1024  # bytes for the name and the description of a file
ARCHITECTURE = "general.architecture"
PADDING = "rankadaptor.padding"
LAST_NORM, ROTARY = "output_norm.weight", "rope_freqs.weight"
EMBEDDING, OUTPUT, NORM = "model.embed_tokens", "lm_head", "model.norm"
DECI, OPENELM = "deci", "openelm"

Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class Field:
    """One entry of the metadata.

    Attributes:
        key: Its name.
        kind: `string`, `uint32`, `float32` or `bool`; or `strings`, `int32s` or `float32s` for an array.
        value: What it holds.
    """

    key: str
    kind: str
    value: Value

    @cached_property
    def bytes(self) -> int:
        """Bytes that the entry takes in the header."""
        key = 8 + len(self.key.encode()) + 4
        if self.kind == "string":
            return key + 8 + len(str(self.value).encode())
        if isinstance(self.value, Sequence) and not isinstance(self.value, str):
            strings = self.kind == "strings"
            return key + 12 + sum(8 + len(str(each).encode()) if strings else 4 for each in self.value)
        return key + (1 if self.kind == "bool" else 4)


@dataclass(frozen=True)
class ModelShape:
    """What decides the tensors of a file, apart from their types.

    Attributes:
        architecture: `deci` or `openelm`, as llama.cpp calls them.
        vocabulary: Rows of the embedding.
        hidden: Features of the hidden state.
        head_dim: Features of a head.
        tied: Whether the output head is the embedding.
        biases: Kinds of linears that have a bias, such as `q_proj`.
        blocks: Widths of each block. No heads, or no channels, mean that this half is removed.
        rotary: Divisors of the frequencies of rotary positions, `(head_dim / 2,)`; empty where all are 1.
    """

    architecture: str
    vocabulary: int
    hidden: int
    head_dim: int
    tied: bool
    biases: tuple[str, ...]
    blocks: tuple[BlockShape, ...]
    rotary: tuple[float, ...] = ()


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the file.

    Attributes:
        name: As the file calls it.
        sources: Parameters of the Hugging Face model whose rows it holds, one below the other. A tensor
            without any stands for a part that was removed and holds zeros (ones if it is a norm), or is
            `rope_freqs.weight`.
        shape: `(rows, columns)`, or `(features,)` of a norm or a bias.
        type: Name of its type.
        bytes: What it adds to the file: its data, padded to 32 bytes.
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    type: str
    bytes: int

    @property
    def module(self) -> str | None:
        """The module that it comes from; of several, the first."""
        return self.sources[0].rpartition(".")[0] if self.sources else None


@dataclass(frozen=True)
class FilePlan:
    """The layout of a file.

    Attributes:
        header: Bytes before the first tensor, padding included.
        tensors: The tensors in the order of the file.
    """

    header: int
    tensors: tuple[PlannedTensor, ...]

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.header + sum(tensor.bytes for tensor in self.tensors)

    @property
    def fixed(self) -> int:
        """What no choice of widths or types changes: header, last norm, divisors of frequencies."""
        constant = (LAST_NORM, ROTARY)
        return self.header + sum(tensor.bytes for tensor in self.tensors if tensor.name in constant)


def plan_file(
    shape: ModelShape,
    fields: Sequence[Field],
    *,
    types: Mapping[str, str] | None = None,
    default_type: str = "F16",
    header: int | None = None,
) -> FilePlan:
    """Plan a file.

    Args:
        shape: Shape of the model.
        fields: Metadata without name, description and padding.
        types: Module name → name of its type (`find_type`). Norms and biases are always F32.
        default_type: Type of matrices that are not named.
        header: Bytes of the header, that of a model with more blocks for example; by default as many as this
            model needs with no part removed.

    Raises:
        InputError: If a type does not fit the rows of its tensor, a name is not a matrix of the model,
            linears that the file stores as one tensor have two types, or `header` is too small.
    """
    chosen = Chosen(types or {}, default_type)
    _check_names(shape, chosen.types)
    tensors = [*_plan_embedding(shape, chosen), _plan_vector(LAST_NORM, NORM, shape.hidden)]
    if shape.rotary:
        tensors.append(_plan_vector(ROTARY, None, len(shape.rotary)))
    for block in shape.blocks:
        tensors += plan_attention(shape, block, chosen)
        tensors += plan_mlp(shape, block, chosen)
    needed = count_header_bytes(shape, fields)
    if header is not None and (header < needed or header % ALIGNMENT):
        raise InputError(
            f"header={header}: this file needs at least {needed} bytes there, in multiples of {ALIGNMENT}."
        )
    return FilePlan(header=header or needed, tensors=tuple(tensors))


@dataclass(frozen=True)
class Chosen:
    """Types by module name, and the one of all others."""

    types: Mapping[str, str]
    default: str

    def get(self, module: str) -> str:
        """Return the name of the type of a module, as llama.cpp writes it."""
        return find_type(self.types.get(module, self.default)).name


def count_matrix_bytes(rows: int, columns: int, type_name: str, *, name: str = "the matrix") -> int:
    """Count what a matrix adds to a file, for example the embedding `(vocabulary, hidden)`.

    Raises:
        InputError: If no row of this length fits the type.
    """
    kind = find_type(type_name)
    kind.check_columns(columns, name=name)
    return align(kind.count_bytes(rows, columns))


def count_header_bytes(shape: ModelShape, fields: Sequence[Field]) -> int:
    """Count the bytes before the first tensor, as many as if nothing were removed from any block."""
    size = 24 + sum(field.bytes for field in fields) + Field(PADDING, "string", "").bytes + ROOM
    largest = [_name_matrices(shape, index) for index in range(len(shape.blocks))]
    names = {"token_embd.weight": 2, LAST_NORM: 1} | ({} if shape.tied else {"output.weight": 2})
    names |= {ROTARY: 1} if shape.rotary else {}
    for each in largest:
        names |= each
    return align(size + sum(count_entry_bytes(name, dimensions) for name, dimensions in names.items()))


def count_entry_bytes(name: str, dimensions: int) -> int:
    """Count what the entry of a tensor takes in the header: name, shape, type and place."""
    return 8 + len(name.encode()) + 4 + 8 * dimensions + 4 + 8


def align(size: int) -> int:
    """Round up to the alignment of the file."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan_attention(shape: ModelShape, block: BlockShape, chosen: Chosen) -> list[PlannedTensor]:
    """Plan the tensors of a block's attention.

    `deci` knows blocks without attention, except for the first, and `openelm` none at all: there one head of
    zeros stands for it.
    """
    place, source = f"blk.{block.block}.", f"model.layers.{block.block}."
    hidden, removed = shape.hidden, block.heads == 0
    if removed and shape.architecture == DECI and block.block > 0:
        return []
    heads, kv_heads = (1, 1) if removed else (block.heads, block.kv_heads)
    inner, outer = heads * shape.head_dim, kv_heads * shape.head_dim
    rows = {"q_proj": inner, "k_proj": outer, "v_proj": outer}
    paths = {kind: f"{source}self_attn.{kind}" for kind in (*rows, "o_proj")}

    def matrix(name: str, kinds: Sequence[str], size: tuple[int, int]) -> PlannedTensor:
        modules = [paths[kind] for kind in kinds]
        if removed:
            return _plan_filler(place + name, *size)
        return _plan_matrix(place + name, modules, size, chosen)

    def vector(name: str, module: str, features: int) -> PlannedTensor:
        return _plan_vector(place + name, None if removed else source + module, features)

    tensors = [vector("attn_norm.weight", "input_layernorm", hidden)]
    if shape.architecture == OPENELM:
        tensors.append(matrix("attn_qkv.weight", tuple(rows), (inner + 2 * outer, hidden)))
        tensors += [vector(f"attn_{x}_norm.weight", f"self_attn.{x}_norm", shape.head_dim) for x in "qk"]
    else:
        for kind, size in rows.items():
            tensors.append(matrix(f"attn_{kind[0]}.weight", (kind,), (size, hidden)))
            if kind in shape.biases and not removed:
                path = f"{paths[kind]}.bias"
                tensors.append(_plan_vector(f"{place}attn_{kind[0]}.bias", None, size, source=path))
    tensors.append(matrix("attn_output.weight", ("o_proj",), (hidden, inner)))
    if "o_proj" in shape.biases and not removed:
        path = f"{paths['o_proj']}.bias"
        tensors.append(_plan_vector(f"{place}attn_output.bias", None, hidden, source=path))
    return tensors


def plan_mlp(shape: ModelShape, block: BlockShape, chosen: Chosen) -> list[PlannedTensor]:
    """Plan the tensors of a block's MLP, whose width is rounded up to what the type of `down_proj` needs.

    llama.cpp drops the attention of a block without an MLP, so 32 channels of zeros stand for a removed one.
    """
    place, source = f"blk.{block.block}.", f"model.layers.{block.block}."
    removed, hidden = block.channels == 0, shape.hidden
    norm = _plan_vector(
        f"{place}ffn_norm.weight", None if removed else f"{source}post_attention_layernorm", hidden
    )
    width = find_file_channels(block, chosen)
    tensors = [norm]
    for kind in ("gate", "up", "down"):
        size = (hidden, width) if kind == "down" else (width, hidden)
        name = f"{place}ffn_{kind}.weight"
        tensors.append(
            _plan_filler(name, *size)
            if removed
            else _plan_matrix(name, [f"{source}mlp.{kind}_proj"], size, chosen)
        )
    return tensors


def find_file_channels(block: BlockShape, chosen: Chosen) -> int:
    """Return the MLP width of a block in the file: a multiple of 32 and of what `down_proj`'s type packs."""
    if block.channels == 0:
        return CHANNEL_STEP
    step = max(CHANNEL_STEP, find_type(chosen.get(f"model.layers.{block.block}.mlp.down_proj")).block)
    return -(-block.channels // step) * step


def find_file_heads(shape: ModelShape, block: BlockShape) -> tuple[int, int]:
    """Return the query and key-value heads of a block in the file, where one of zeros may stand for none."""
    if block.heads == 0 and (shape.architecture == OPENELM or block.block == 0):
        return 1, 1
    return block.heads, block.kv_heads


def _plan_embedding(shape: ModelShape, chosen: Chosen) -> list[PlannedTensor]:
    size = (shape.vocabulary, shape.hidden)
    ends = [("token_embd.weight", EMBEDDING)] + ([] if shape.tied else [("output.weight", OUTPUT)])
    return [_plan_matrix(name, [module], size, chosen) for name, module in ends]


def _plan_matrix(name: str, modules: Sequence[str], size: tuple[int, int], chosen: Chosen) -> PlannedTensor:
    wanted = {module: chosen.get(module) for module in modules}
    if len(set(wanted.values())) > 1:
        listed = ", ".join(f"{module}: {kind}" for module, kind in wanted.items())
        raise InputError(f"{name} holds several linears in one tensor, so they need one type, not {listed}.")
    kind = wanted[modules[0]]
    size_in_file = count_matrix_bytes(*size, kind, name=" and ".join(modules))
    return PlannedTensor(name, tuple(f"{module}.weight" for module in modules), size, kind, size_in_file)


def _plan_filler(name: str, rows: int, columns: int) -> PlannedTensor:
    """Plan zeros, in the smallest type that every engine has and the row fits."""
    kind = "F16" if columns % find_type("Q4_0").block else "Q4_0"
    return PlannedTensor(name, (), (rows, columns), kind, count_matrix_bytes(rows, columns, kind))


def _plan_vector(name: str, module: str | None, features: int, *, source: str | None = None) -> PlannedTensor:
    sources = (source,) if source else (f"{module}.weight",) if module else ()
    return PlannedTensor(name, sources, (features,), "F32", align(4 * features))


def _name_matrices(shape: ModelShape, index: int) -> dict[str, int]:
    """Name every tensor that a block can have, with its number of dimensions."""
    full = BlockShape(index, 1, 1, shape.head_dim, CHANNEL_STEP)
    any_width = Chosen({}, "F16")
    tensors = [*plan_attention(shape, full, any_width), *plan_mlp(shape, full, any_width)]
    return {tensor.name: len(tensor.shape) for tensor in tensors}


def _check_names(shape: ModelShape, types: Mapping[str, str]) -> None:
    known = {EMBEDDING} | (set() if shape.tied else {OUTPUT})
    for index in range(len(shape.blocks)):
        known |= {f"model.layers.{index}.self_attn.{kind}_proj" for kind in "qkvo"}
        known |= {f"model.layers.{index}.mlp.{kind}_proj" for kind in ("gate", "up", "down")}
    if unknown := sorted(types.keys() - known):
        tied = " lm_head is tied to model.embed_tokens here." if shape.tied and OUTPUT in unknown else ""
        raise InputError(
            f"types: no matrix of this model is called {', '.join(unknown[:3])}. Names are those of the "
            f"Hugging Face model, such as model.layers.0.mlp.up_proj or model.embed_tokens.{tied}"
        )
