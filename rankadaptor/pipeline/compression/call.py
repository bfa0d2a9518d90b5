"""`rankadaptor compress` as a Python function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankadaptor.config.compress_request import request_compression
from rankadaptor.pipeline.compression.delivery import FILE, MODEL_FOLDER
from rankadaptor.pipeline.compression.job import run_compression
from rankadaptor.results.compression import explain_compression


@dataclass(frozen=True)
class Compressed:
    """A finished compression.

    Attributes:
        file: The GGUF file.
        model: Folder of the same model before quantisation, for `rankadaptor.load`.
        report: The report, a page of HTML.
        headline: Size and verdict, in one line.
        document: The result as in `result.json`.
    """

    file: Path
    model: Path
    report: Path
    headline: str
    document: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.headline


def compress(
    model: str | os.PathLike[str],
    *,
    size: str | None = None,
    latency: str | None = None,
    parameters: str | None = None,
    data: str | Sequence[str] | Mapping[str, Any] = (),
    output: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    **sections: Any,
) -> Compressed:
    """Make a model fit a size, a latency or a number of parameters: the whole job of `rankadaptor compress`.

    The same call continues an interrupted run.

    Args:
        model: kit:smollm2-135m, a folder in Hugging Face form, or a hub id.
        size: Bytes of the GGUF file at most: `60MB`.
        latency: Time per token on the engine at most, of the dense model's: `0.7x`.
        parameters: Parameters at most: `80%` of the dense model's, or `100M`.
        data: Files, folders or `kit:NAME` of text that resembles what the model is for; or the whole section
            of the run file, `{"text": [...], "length": 256}`.
        output: Folder for results; named after model and limits, in `runs`, by default.
        fresh: Throw away what an earlier run left in the folder.
        sections: Further keys of the run file, by section: `recover={"steps": 400}`.

    Raises:
        ConfigError: With all faults of the arguments at once.
        InputError: If the run does not fit the model or the folder holds another run.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
        StorageError: If something could not be written; what was measured before is kept.
    """
    config = request_compression(
        os.fspath(model),
        size=size,
        latency=latency,
        parameters=parameters,
        data=[data] if isinstance(data, str) else () if isinstance(data, Mapping) else data,
        output=None if output is None else os.fspath(output),
        sections={**sections, "data": data} if isinstance(data, Mapping) else sections,
    )
    document, folder = run_compression(config, fresh=fresh), Path(config.output)
    _, headline, _ = explain_compression(document)
    return Compressed(
        file=folder / FILE,
        model=folder / MODEL_FOLDER,
        report=folder / "report.html",
        headline=headline,
        document=document,
    )
