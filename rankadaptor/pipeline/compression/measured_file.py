"""A file that the result is compared with: written, timed on the engine, scored, and thrown away again."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.files import write_json
from rankadaptor.model import describe_model
from rankadaptor.pipeline.compression.candidates import Candidate, measure_rounded
from rankadaptor.pipeline.compression.delivery import DEFAULT_TYPE, measure_file_speed
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.step_files import read_object

logger = logging.getLogger(__name__)


def measure_as_is(setting: Setting, candidate: Candidate) -> dict[str, Any]:
    """Write, time and score a reference without recovery."""
    model, types = candidate.extract(setting)
    return measure_file(setting, candidate, model, types, recovered=False, timed=True)


def measure_file(
    setting: Setting,
    candidate: Candidate,
    model: Any,
    types: Mapping[str, str],
    *,
    recovered: bool,
    timed: bool,
    in_place: bool = True,
) -> dict[str, Any]:
    """Write a reference to a file that is thrown away again, time it, and score it on the judging texts.

    Args:
        setting: The run's inputs.
        candidate: What the reference is called, and its importance weights.
        model: Its model, in float32.
        types: Type of each matrix by module name.
        recovered: Whether the model was recovered.
        timed: Whether to measure its speed on the engine, where the run uses one.
        in_place: Whether the model may be used up.
    """
    with tempfile.TemporaryDirectory(prefix=".reference-", dir=setting.folder.path) as place:
        path = Path(place) / "reference.gguf"
        written = write_gguf(
            model,
            setting.tokenizer,
            path,
            types=types,
            default_type=DEFAULT_TYPE,
            importance=candidate.importance,
        )
        speed = measure_file_speed(setting, path) if timed and setting.config.export.engine else None
    parameters = int(describe_model(model)["parameters"])
    losses = measure_rounded(
        setting,
        model,
        types,
        parts=setting.texts.judging,
        importance=candidate.importance,
        in_place=in_place,
    )
    name = f"{candidate.name}, recovered" if recovered else candidate.name
    logger.info(
        "%s: %.1f MB, loss %s", name, written.bytes / 1e6,
        ", ".join(f"{each.mean:.4f} ({part})" for part, each in losses.items()),
    )  # fmt: skip
    return {
        "name": name,
        "kind": candidate.kind,
        "recovered": recovered,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "parameters": parameters,
        "losses": {part: each.mean for part, each in losses.items()},
        "sequence_losses": {part: list(each.per_sequence) for part, each in losses.items()},
        "types": candidate.name,
        "speed": speed,
    }


def keep_measured(
    setting: Setting, folder: str, name: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Measure a reference, or read what an interrupted start of the run has measured of it."""
    file = setting.folder.path / folder / f"{name.replace(' ', '-')}.json"
    if not file.exists():
        write_json(file, measure())
    return read_object(file, keys=(), what="a reference", cost="it is measured again")
