"""The cards beside exported models: what they are, what runs them, and what they are exact in."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.files import write_text
from rankadaptor.model.families import describe_blocks

if TYPE_CHECKING:
    from rankadaptor.engine.gguf_file import PreparedFile, WrittenFile

logger = logging.getLogger(__name__)

MARK = "<!-- written by rankadaptor export; a card without this line is kept -->"


def write_card(path: Path, text: str) -> Path:
    """Write a card, unless a file of this name was written by somebody else.

    Raises:
        StorageError: If it cannot be written.
    """
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        logger.info("%s is not from this program and stays as it is", path)
        return path
    write_text(path, text)
    return path


def render_file_card(prepared: PreparedFile, written: WrittenFile, *, name: str, merged: bool) -> str:
    """Render the card of a GGUF file as Markdown."""
    shape, file = prepared.shape, written.path.name
    sizes: Counter[str] = Counter()
    for tensor in prepared.plan.tensors:
        sizes[tensor.type] += tensor.bytes
    rows = [f"| {kind} | {size:,} |" for kind, size in sizes.most_common()]
    rows.append(f"| header: metadata and tokenizer | {prepared.plan.header:,} |")
    widths = [(block.heads, block.kv_heads, block.channels) for block in shape.blocks]
    return "\n".join(
        [
            MARK,
            "",
            f"# {file}",
            "",
            f"`{name}`{_tell_merged(merged)} as a GGUF file of {written.bytes:,} bytes for llama.cpp, "
            f"architecture `{shape.architecture}`. {_describe_widths(widths)}",
            "",
            "## Run it",
            "",
            "```console",
            f'llama-cli -m {file} -p "Once upon a time"',
            "```",
            "",
            "Other programs on llama.cpp read it too. Tried with the Python package xllamacpp 2026.10.",
            "",
            "## What is inside",
            "",
            "| tensors of type | bytes |",
            "|---|---:|",
            *rows,
            "",
            *_list_widths(widths),
            f"SHA-256: `{written.sha256}`",
            "",
            "It inherits the terms of the model that it was made from.",
            "",
        ]
    )


def render_folder_card(model: Any, *, name: str, merged: bool) -> str:
    """Render the card of a Hugging Face folder as Markdown with a YAML header."""
    import yaml

    header = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["rankadaptor"]}
    widths = [(shape.heads, shape.kv_heads, shape.channels) for shape in describe_blocks(model)]
    uneven = bool(getattr(model.config, "is_heterogeneous", False))
    trust = ", trust_remote_code=True" if uneven else ""
    serve = " --trust-remote-code --model-impl transformers" if uneven else ""
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
            MARK,
            "",
            f"# {name}",
            "",
            f"`{name}`{_tell_merged(merged)}, {model.num_parameters():,} parameters. "
            f"{_describe_widths(widths)}",
            "",
            "## Run it",
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'folder = "path/to/this/folder"',
            "tokenizer = AutoTokenizer.from_pretrained(folder)",
            f"model = AutoModelForCausalLM.from_pretrained(folder{trust})",
            "```",
            "",
            f"With vLLM: `vllm serve path/to/this/folder{serve}`.",
            "",
            *_list_widths(widths),
            "It inherits the terms of the model that it was made from.",
            "",
        ]
    )


def _tell_merged(merged: bool) -> str:
    return " with its adapter merged" if merged else ""


def _describe_widths(widths: list[tuple[int, int, int]]) -> str:
    if len(set(widths)) == 1:
        heads, groups, channels = widths[0]
        return (
            f"Its {len(widths)} blocks have {heads} query heads, {groups} key-value heads and {channels} MLP "
            "channels each."
        )
    return f"Its {len(widths)} blocks differ in width."


def _list_widths(widths: list[tuple[int, int, int]]) -> list[str]:
    if len(set(widths)) == 1:
        return []
    rows = [
        f"| {index} | {heads} | {groups} | {channels} |"
        for index, (heads, groups, channels) in enumerate(widths)
    ]
    head = ["| block | query heads | key-value heads | MLP channels |", "|---:|---:|---:|---:|"]
    return [*head, *rows, "", "A zero stands for a part that was removed.", ""]
