"""Files that the result is compared with: written, scored, timed on the engine, and thrown away again.

They are written and scored by any number of processes and timed by one; see `add_speeds`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
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


def measure_as_is(setting: Setting, candidate: Candidate, folder: str) -> dict[str, Any]:
    """Write and score a reference without recovery, or read what is kept of it; see `keep_measured`."""

    def measure() -> dict[str, Any]:
        model, types = candidate.extract(setting)
        return {"points": [measure_file(setting, candidate, model, types, keep=place)], "tokens": 0}

    place = name_place(setting, folder, candidate.name)
    return keep_measured(place, measure)


def measure_file(
    setting: Setting,
    candidate: Candidate,
    model: Any,
    types: Mapping[str, str],
    *,
    recovered: bool = False,
    keep: Path | None = None,
    in_place: bool = True,
) -> dict[str, Any]:
    """Write a reference to a file and score it on the judging texts.

    Args:
        setting: The run's inputs.
        candidate: What the reference is called, and its importance weights.
        model: Its model, in float32.
        types: Type of each matrix by module name.
        recovered: Whether the model was recovered.
        keep: Where the file is left for `add_speeds`, if the run uses the engine; by default it is thrown
            away.
        in_place: Whether the model may be used up.
    """
    with tempfile.TemporaryDirectory(prefix=".reference-", dir=setting.folder.path) as temporary:
        path = Path(temporary) / "reference.gguf"
        if keep is not None and setting.config.export.engine:
            path = name_file(keep)
        written = write_gguf(
            model,
            setting.tokenizer,
            path,
            types=types,
            default_type=DEFAULT_TYPE,
            importance=candidate.importance,
        )
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
        "speed": None,
    }


def name_place(setting: Setting, folder: str, name: str) -> Path:
    """Return where a reference is kept: the path without the endings of its files."""
    return setting.folder.path / folder / name.replace(" ", "-")


def name_file(place: Path) -> Path:
    """Return the GGUF file of a reference whose speed is still to be measured."""
    return place.with_name(f"{place.name}.gguf")


def name_result(place: Path) -> Path:
    """Return the file of what was measured of a reference."""
    return place.with_name(f"{place.name}.json")


def keep_measured(place: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure a reference, or read what an interrupted start of the run has measured of it.

    Returns:
        `points`, one per file, and `tokens` trained.
    """
    file = name_result(place)
    if not file.exists():
        write_json(file, measure())
    return read_object(file, keys=("points", "tokens"), what="a reference", cost="it is measured again")


def add_speeds(setting: Setting, places: Sequence[Path]) -> None:
    """Measure the speed of files that are left for it, one after the other, and remove them.

    This is done while nothing else of the run computes, so that all are timed alike.
    """
    for place in places:
        file, result = name_file(place), name_result(place)
        if not file.exists():
            continue
        kept = keep_measured(place, dict)
        speed = measure_file_speed(setting, file)
        points = [{**point, "speed": speed} for point in kept["points"]]
        write_json(result, {**kept, "points": points})
        file.unlink()


def log_points(points: Sequence[Mapping[str, Any]]) -> None:
    """Log the size and the losses of measured files."""
    for point in points:
        losses = ", ".join(f"{loss:.4f} ({part})" for part, loss in point["losses"].items())
        logger.info("%s: %.1f MB, loss %s", point["name"], point["bytes"] / 1e6, losses)
