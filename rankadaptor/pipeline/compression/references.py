"""Other rules at the same limits, measured as files: recovered as the result was, or as they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankadaptor.errors import NonFiniteError, TrainingError
from rankadaptor.pipeline.compression.candidates import Candidate, recover_candidate
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.measured_file import (
    add_speeds,
    keep_measured,
    log_points,
    measure_as_is,
    measure_file,
    name_place,
    name_result,
)
from rankadaptor.pipeline.compression.setting import Setting

logger = logging.getLogger(__name__)

FOLDER = "references"


def list_reference_jobs(setting: Setting, baselines: Sequence[Candidate], *, rate: float | None) -> list[Job]:
    """Return what is to be done for the baselines, each by itself."""
    return [
        Job(each.name, measure_reference, (each, rate), (name_result(_name_place(setting, each, rate)),))
        for each in baselines
    ]


def measure_references(
    setting: Setting, baselines: Sequence[Candidate], *, rate: float | None
) -> dict[str, Any]:
    """Measure the baselines that the run asks for, after the same recovery where there is one.

    Returns:
        `points`, one per file, and `tokens` trained.
    """
    do_jobs(setting, list_reference_jobs(setting, baselines, rate=rate), what="references")
    add_speeds(setting, [_name_place(setting, each, rate) for each in baselines])
    found = [measure_reference(setting, each, rate) for each in baselines]
    points = [point for kept in found for point in kept["points"]]
    log_points(points)
    return {"points": points, "tokens": sum(kept["tokens"] for kept in found)}


def measure_reference(setting: Setting, candidate: Candidate, rate: float | None) -> dict[str, Any]:
    """Recover a baseline as the result was and score it, or read what is kept of it."""
    given = setting.config.recover
    if given is None or rate is None:
        return measure_as_is(setting, candidate, FOLDER)
    place = _name_place(setting, candidate, rate)

    def measure() -> dict[str, Any]:
        model, types = candidate.extract(setting)
        try:
            recovered = recover_candidate(
                setting, model, types, steps=given.steps, rate=rate, checkpoint=place
            )
        except (TrainingError, NonFiniteError) as error:
            logger.warning("%s: %s", candidate.name, error)
            return {"points": [], "tokens": getattr(error, "tokens", 0)}
        point = measure_file(setting, candidate, recovered.model, types, recovered=True, keep=place)
        return {"points": [point], "tokens": recovered.tokens}

    return keep_measured(place, measure)


def _name_place(setting: Setting, candidate: Candidate, rate: float | None) -> Path:
    ending = "" if setting.config.recover is None or rate is None else f"-{rate:g}"
    return name_place(setting, FOLDER, f"{candidate.name}{ending}")
