"""A compression asked for by its limits, on the command line or in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rankadaptor.config.compress import CompressConfig
from rankadaptor.config.loading import build_compression


def request_compression(
    model: str,
    *,
    size: str | None = None,
    latency: str | None = None,
    parameters: str | None = None,
    data: Sequence[str] = (),
    output: str | None = None,
    sections: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> CompressConfig:
    """Return the run of a compression; everything that is not given has its default.

    Args:
        model: kit:smollm2-135m, a folder in Hugging Face form, or a hub id.
        size: Bytes of the GGUF file at most: `60MB`.
        latency: Time per token on the engine at most, of the dense model's: `0.7x`.
        parameters: Parameters at most: `80%` of the dense model's, or `100M`.
        data: Files, folders or `kit:NAME` of text that resembles what the model is for.
        output: Folder for results, by default named after model and limits.
        sections: Further keys of the run file, by section: `{"recover": {"steps": 400}}`.
        overrides: The same as assignments: `recover.steps=400`.

    Raises:
        ConfigError: With all faults at once.
    """
    values: dict[str, Any] = {
        "model": model,
        "limits": {"size": size, "latency": latency, "parameters": parameters},
        "name": name_compression(model, size, latency, parameters),
        "output": output,
    }
    if data:
        values["data"] = {"text": list(data)}
    for name, given in (sections or {}).items():
        before = values.get(name)
        values[name] = (
            {**before, **given} if isinstance(before, dict) and isinstance(given, Mapping) else given
        )
    return build_compression(values, overrides, source="compress")


def name_compression(model: str, *limits: str | None) -> str:
    """Name a run after its model and its limits."""
    source = model.removeprefix("kit:").rstrip("/").rpartition("/")[2] or "model"
    words = "-".join(("compress", source, *(limit for limit in limits if limit)))
    return re.sub(r"[^A-Za-z0-9._-]", "", words.replace("%", "pc")) or "compress"
