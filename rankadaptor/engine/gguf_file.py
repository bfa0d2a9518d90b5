"""Write a model, whose layers may differ in width, heads and type, as one GGUF file that llama.cpp runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.engine.file_plan import (
    ARCHITECTURE,
    DECI,
    PADDING,
    ROTARY,
    Chosen,
    Field,
    FilePlan,
    ModelShape,
    PlannedTensor,
    count_entry_bytes,
    plan_file,
)
from rankadaptor.engine.model_fields import list_model_fields, read_shape
from rankadaptor.engine.quantisers import quantise
from rankadaptor.engine.tokenizer_fields import list_tokenizer_fields
from rankadaptor.engine.types import find_type
from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.files import compute_file_sha256, replace_file
from rankadaptor.model.finiteness import refuse_nonfinite_weights
from rankadaptor.model.quantisation import refuse_quantised

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

NAME, DESCRIPTION = "general.name", "general.description"
SHOWN = 400  # bytes of a name or a description at most, so that both fit into `ROOM`


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written.

    Attributes:
        path: Where it is.
        bytes: Its size, that of its plan.
        sha256: Digest of its content.
    """

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PreparedFile:
    """A file before it is written: its plan, and its metadata without name, description and padding."""

    shape: ModelShape
    plan: FilePlan
    fields: tuple[Field, ...]


def prepare_file(
    model: Any,
    tokenizer: Any,
    *,
    types: Mapping[str, str] | None = None,
    default_type: str = "F16",
    header: int | None = None,
    context: int | None = None,
) -> PreparedFile:
    """Plan the file of a model and refuse what it cannot hold; nothing is written.

    Args:
        model: A causal language model of a supported family, pruned or not, without adapters.
        tokenizer: Its tokenizer.
        types: Module name of the Hugging Face model → name of a type (`rankadaptor.engine.types`).
        default_type: Type of matrices that are not named.
        header: Bytes of the header, by default what this model needs; see `plan_file`.
        context: Longest text in tokens, by default `max_position_embeddings`.

    Raises:
        InputError: If the model, its tokenizer or a type cannot be expressed.
    """
    refuse_quantised(model, verb="exported")
    if getattr(model, "peft_config", None):
        raise InputError("The model carries an adapter. Merge it first: model = model.merge_and_unload().")
    shape = read_shape(model)
    chosen = Chosen(types or {}, default_type)
    fields = [
        *list_model_fields(shape, model.config, chosen=chosen, context=context),
        *list_tokenizer_fields(tokenizer, vocabulary=shape.vocabulary),
    ]
    plan = plan_file(shape, fields, types=types, default_type=default_type, header=header)
    return PreparedFile(shape=shape, plan=plan, fields=tuple(fields))


def write_gguf(
    model: Any,
    tokenizer: Any,
    path: str | Path,
    *,
    types: Mapping[str, str] | None = None,
    default_type: str = "F16",
    importance: Mapping[str, Any] | None = None,
    header: int | None = None,
    context: int | None = None,
    name: str | None = None,
    description: str | None = None,
) -> WrittenFile:
    """Write a model as a GGUF file, so that a reader sees the old file or the new one, never a part.

    Args:
        model: A causal language model of a supported family, pruned or not, without adapters. Attention and
            MLPs that were dropped, or whose output projection is zero, are written as removed.
        tokenizer: Its tokenizer.
        path: The file; its folder is made.
        types: Module name of the Hugging Face model → name of a type (`rankadaptor.engine.types`).
        default_type: Type of matrices that are not named. Norms and biases are F32.
        importance: Module name → weight of each input column in the error of quantisation, `(columns,)`.
        header: Bytes of the header, by default what this model needs; see `plan_file`.
        context: Longest text in tokens that the engine is told, by default `max_position_embeddings`.
        name: `general.name`; by default the name that the model was loaded by.
        description: `general.description`; it and the name are cut at 400 bytes.

    Raises:
        InputError: If the model, its tokenizer or a type cannot be expressed; nothing is written then.
        NonFiniteError: If a weight is not finite.
        StorageError: If the file cannot be written; what was there before is untouched.
    """
    goal = Path(path).expanduser()
    if goal.is_dir():
        raise InputError(f"{goal}: is a folder. Give the name of the file, such as {goal / 'model.gguf'}.")
    prepared = prepare_file(
        model, tokenizer, types=types, default_type=default_type, header=header, context=context
    )
    refuse_nonfinite_weights(model, verb="exported")
    called = name or Path(str(getattr(model.config, "_name_or_path", "") or "model")).name
    about = description or _describe(prepared)
    fields = [
        *prepared.fields,
        Field(NAME, "string", _cut(called)),
        Field(DESCRIPTION, "string", _cut(about)),
    ]
    with replace_file(goal) as temporary:
        pack = _prepare_packing(prepared, model, importance or {})
        write_planned(temporary, prepared.plan, fields, pack)
        size, digest = temporary.stat().st_size, compute_file_sha256(temporary)
    if size != prepared.plan.bytes:
        raise AssertionError(f"{goal} has {size} bytes, planned were {prepared.plan.bytes}")
    logger.info("wrote %s: %.1f MB", goal, size / 1e6)
    return WrittenFile(path=goal, bytes=size, sha256=digest)


def _cut(text: str) -> str:
    return text.encode()[:SHOWN].decode(errors="ignore")


def _describe(prepared: PreparedFile) -> str:
    kinds = sorted(
        {tensor.type for tensor in prepared.plan.tensors if len(tensor.shape) == 2 and tensor.sources}
    )
    widths = [block.channels for block in prepared.shape.blocks]
    heads = [block.heads for block in prepared.shape.blocks]
    return (
        f"Written by RankAdaptor: {len(widths)} blocks, MLP widths {min(widths)} to {max(widths)}, heads "
        f"{min(heads)} to {max(heads)}, types {', '.join(kinds)}"
    )


def write_planned(
    path: Path, plan: FilePlan, fields: Sequence[Field], pack: Callable[[PlannedTensor], NDArray[np.uint8]]
) -> None:
    """Write the file of a plan, tensor by tensor, each as `pack` returns its packed rows."""
    import gguf

    kinds = gguf.GGUFValueType
    scalars = {"string": kinds.STRING, "uint32": kinds.UINT32, "float32": kinds.FLOAT32, "bool": kinds.BOOL}
    arrays = {"strings": kinds.STRING, "int32s": kinds.INT32, "float32s": kinds.FLOAT32}
    logging.getLogger("gguf.gguf_writer").setLevel(logging.WARNING)
    with _open_writer(path, str(fields[0].value)) as writer:
        for field in [*fields, _make_padding(plan, fields)]:
            if field.key == ARCHITECTURE:  # the writer's own first field
                continue
            if field.kind in arrays:
                writer.add_key_value(field.key, field.value, kinds.ARRAY, arrays[field.kind])
            else:
                writer.add_key_value(field.key, field.value, scalars[field.kind])
        for tensor in plan.tensors:
            kind = gguf.GGMLQuantizationType[tensor.type]
            rows, columns = tensor.shape if len(tensor.shape) == 2 else (1, *tensor.shape)
            size = find_type(tensor.type).count_bytes(rows, columns)
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in plan.tensors:
            writer.write_tensor_data(np.ascontiguousarray(pack(tensor)))


def _prepare_packing(
    prepared: PreparedFile, model: Any, importance: Mapping[str, Any]
) -> Callable[[PlannedTensor], NDArray[np.uint8]]:
    parameters = model.state_dict()

    def pack(tensor: PlannedTensor) -> NDArray[np.uint8]:
        values = _collect(tensor, parameters, prepared.shape)
        return _pack(tensor, values, _pad_importance(importance, tensor))

    return pack


def _pack(
    tensor: PlannedTensor, values: NDArray[np.float32], importance: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    try:
        return quantise(values.reshape(-1, values.shape[-1]), tensor.type, importance=importance)
    except NonFiniteError as error:
        raise NonFiniteError(f"{' and '.join(tensor.sources)}: {error}") from error


@contextlib.contextmanager
def _open_writer(path: Path, architecture: str) -> Iterator[Any]:
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    try:
        yield writer
    finally:
        writer.close()


def _make_padding(plan: FilePlan, fields: Sequence[Field]) -> Field:
    """Make the entry that brings the header to its planned length."""
    entries = sum(count_entry_bytes(tensor.name, len(tensor.shape)) for tensor in plan.tensors)
    used = 24 + sum(field.bytes for field in fields) + entries + Field(PADDING, "string", "").bytes
    return Field(PADDING, "string", "." * (plan.header - used))


def _collect(tensor: PlannedTensor, parameters: Mapping[str, Any], shape: ModelShape) -> NDArray[np.float32]:
    """Return the values of a tensor in float32, rows in llama.cpp's order, padded with zeros."""
    if tensor.name == ROTARY:
        return np.asarray(shape.rotary, np.float32)
    if not tensor.sources:
        fill = 1.0 if tensor.name.endswith("norm.weight") else 0.0
        return np.full(tensor.shape, fill, np.float32)
    parts = [parameters[name].detach().float().cpu().numpy() for name in tensor.sources]
    values: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    rotated = ".attn_q." in tensor.name or ".attn_k." in tensor.name
    if shape.architecture == DECI and rotated:
        values = _interleave(values, shape.head_dim)
    missing = [(0, wanted - found) for wanted, found in zip(tensor.shape, values.shape, strict=True)]
    return np.pad(values, missing) if any(after for _, after in missing) else values


def _interleave(values: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Reorder rows: rotary pairs lie half a head apart in transformers, side by side in `deci`."""
    heads = values.shape[0] // head_dim
    split = values.reshape(heads, 2, head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(values.shape)


def _pad_importance(importance: Mapping[str, Any], tensor: PlannedTensor) -> NDArray[np.float32] | None:
    """Return the importance of a tensor's columns; padded columns have none."""
    if len(tensor.shape) != 2 or tensor.module is None or tensor.module not in importance:
        return None
    values = np.asarray(importance[tensor.module], np.float32)
    missing = tensor.shape[1] - values.shape[0]
    if values.ndim != 1 or missing < 0:
        raise InputError(
            f"importance of {tensor.module}: has the shape {values.shape}, needed is one number for each of "
            f"its {tensor.shape[1]} input columns."
        )
    return np.pad(values, (0, missing)) if missing else values
