"""Other rules at the same limits, measured as files: recovered as the result was, or as they are."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from rankadaptor.errors import NonFiniteError, TrainingError
from rankadaptor.pipeline.compression.candidates import Candidate, recover_candidate
from rankadaptor.pipeline.compression.measured_file import keep_measured, measure_as_is, measure_file
from rankadaptor.pipeline.compression.setting import Setting

logger = logging.getLogger(__name__)

FOLDER = "references"


def measure_references(setting: Setting, baselines: list[Candidate], *, rate: float | None) -> dict[str, Any]:
    """Measure the baselines that the run asks for, after the same recovery where there is one.

    Returns:
        `points`, one per file, and `tokens` trained.
    """
    points: list[dict[str, Any]] = []
    tokens = 0
    for each in baselines:
        if setting.config.recover is None or rate is None:
            points.append(keep_measured(setting, FOLDER, each.name, partial(measure_as_is, setting, each)))
            continue
        name, measure = f"{each.name}-{rate:g}", partial(recover_baseline, setting, each, rate=rate)
        kept = keep_measured(setting, FOLDER, name, measure)
        points += kept["points"]
        tokens += kept["tokens"]
    return {"points": points, "tokens": tokens}


def recover_baseline(setting: Setting, candidate: Candidate, *, rate: float) -> dict[str, Any]:
    """Recover a baseline as the result was, and score it."""
    given = setting.config.recover
    assert given is not None
    model, types = candidate.extract(setting)
    place = setting.folder.path / FOLDER / f"{candidate.name.replace(' ', '-')}-{rate:g}"
    try:
        recovered = recover_candidate(setting, model, steps=given.steps, rate=rate, checkpoint=place)
    except (TrainingError, NonFiniteError) as error:
        logger.warning("%s: %s", candidate.name, error)
        return {"points": [], "tokens": getattr(error, "tokens", 0)}
    point = measure_file(setting, candidate, recovered.model, types, recovered=True, timed=True)
    return {"points": [point], "tokens": recovered.tokens}
