"""Write a model for use outside this package: one GGUF file for llama.cpp, or a Hugging Face folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rankadaptor.deployment.cards import render_file_card, render_folder_card, write_card
from rankadaptor.deployment.merging import merge_adapter
from rankadaptor.errors import InputError

logger = logging.getLogger(__name__)

FORMATS = ("gguf", "hf")
DEFAULT_TYPE = "Q8_0"
Format = Literal["gguf", "hf"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The GGUF file, or the folder.
        card: Its card.
        bytes: Size of the file, or of all files of the model in the folder.
        sha256: Digest of the GGUF file; None for a folder.
    """

    path: Path
    card: Path
    bytes: int
    sha256: str | None = None


def export(
    model: Any,
    tokenizer: Any,
    path: str | Path,
    *,
    form: Format | None = None,
    adapter: str | Path | None = None,
    types: Mapping[str, str] | None = None,
    default_type: str | None = None,
    embedding_type: str | None = None,
    importance: Mapping[str, Any] | None = None,
    context: int | None = None,
) -> Exported:
    """Write a model, dense or pruned, as a GGUF file or a Hugging Face folder.

    An adapter is merged first, into a copy. What a format cannot represent is said before anything is
    written, and an existing file or checkpoint stays until the new one is whole.

    Args:
        model: A supported causal language model, with or without an adapter; not changed.
        tokenizer: Its tokenizer.
        path: The file, or the folder.
        form: `gguf` or `hf`; by default by the name of `path`: a file `*.gguf`, else a folder.
        adapter: Folder of an adapter for `model` to merge.
        types: GGUF only: module name → type of its weights (`{"model.layers.0.mlp.down_proj": "Q5_0"}`).
        default_type: GGUF only: type of all other matrices, Q8_0 by default (`rankadaptor.engine.types`).
        embedding_type: GGUF only: type of the embedding and the output head; by default that of the others.
        importance: GGUF only: module name → weight of each input column in the error of quantisation,
            `(columns,)`.
        context: GGUF only: longest text in tokens that the engine is told.

    Returns:
        Where it is and how large.

    Raises:
        InputError: If the format cannot represent the model, its tokenizer or a type, or an argument is
            unusable.
        CheckpointError: If the adapter is damaged or belongs to another model.
        StorageError: If it cannot be written; what was there before is untouched.
    """
    goal = Path(path)
    chosen = form or ("gguf" if goal.suffix.lower() == ".gguf" else "hf")
    if chosen not in FORMATS:
        raise InputError(f"form={form!r}: allowed are {' and '.join(FORMATS)}.")
    given = {
        "types": types, "default_type": default_type, "embedding_type": embedding_type,
        "importance": importance, "context": context,
    }  # fmt: skip
    unused = [name for name, value in given.items() if value is not None]
    if chosen == "hf" and unused:
        raise InputError(
            f"{', '.join(unused)}: a Hugging Face folder keeps the precision of its weights. Leave it out, "
            "or write a GGUF file (form='gguf', --format gguf)."
        )
    merged, name = merge_adapter(model, adapter), _find_name(model)
    joined = merged is not model
    if chosen == "hf":
        return _write_folder(merged, tokenizer, goal, name=name, joined=joined)
    matrices = dict(types or {})
    if embedding_type is not None:
        from rankadaptor.engine.file_plan import EMBEDDING, OUTPUT

        ends = (EMBEDDING,) if merged.config.tie_word_embeddings else (EMBEDDING, OUTPUT)
        matrices = dict.fromkeys(ends, embedding_type) | matrices
    from rankadaptor.engine.gguf_file import prepare_file, write_gguf

    options: dict[str, Any] = {
        "types": matrices, "default_type": default_type or DEFAULT_TYPE, "context": context,
    }  # fmt: skip
    prepared = prepare_file(merged, tokenizer, **options)
    written = write_gguf(merged, tokenizer, goal, importance=importance, name=name, **options)
    text = render_file_card(prepared, written, name=name, merged=joined)
    card = write_card(written.path.with_suffix(".md"), text)
    return Exported(path=written.path, card=card, bytes=written.bytes, sha256=written.sha256)


def _write_folder(model: Any, tokenizer: Any, goal: Path, *, name: str, joined: bool) -> Exported:
    from rankadaptor.model.saving import save_pruned

    folder = save_pruned(model, tokenizer, goal).expanduser()
    card = write_card(folder / "README.md", render_folder_card(model, name=name, merged=joined))
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    logger.info("wrote %s: %.1f MB", folder, weights / 1e6)
    return Exported(path=folder, card=card, bytes=weights)


def _find_name(model: Any) -> str:
    return Path(str(getattr(model.config, "_name_or_path", "") or "model")).name
