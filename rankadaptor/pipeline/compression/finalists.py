"""Short recoveries of the best configurations, because their order changes with recovery."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankadaptor.errors import TrainingError
from rankadaptor.files import write_json
from rankadaptor.pipeline.compression.baselines import BASELINE, OPTIMUM, SEQUENTIAL
from rankadaptor.pipeline.compression.candidates import Candidate, try_candidate
from rankadaptor.pipeline.compression.jobs import Job, do_jobs
from rankadaptor.pipeline.compression.recipe_choice import choose_run_recipe
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.recovery.grid import RATE, raise_rate
from rankadaptor.results.table import write_loss
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

OURS = "ours"
FOLDER = "finalists"
DIFFERENT = 0.1
"""Share of the slots in which a further finalist differs from each before it."""


def choose_finalist(setting: Setting, searched: dict[str, Any], baselines: list[Candidate]) -> dict[str, Any]:
    """Recover the finalists shortly and choose one.

    The recipe of the full recovery is chosen on the first finalist. The finalists are compared at its rate,
    raised for their number of steps.

    Args:
        setting: The run's inputs.
        searched: The search's result.
        baselines: Configurations of other rules, the best first. The best simple rule takes part, and widths
            first with types second.

    Returns:
        `chosen` (name and choices), `finalists`, `rate` (of the full recovery), `choice` (what was tried for
        it; None where there was nothing to choose), `tokens`.

    Raises:
        TrainingError: If every recipe or every finalist diverges.
    """
    found = list_finalists(setting, searched)
    given = setting.config.recover
    if given is None:
        return {"chosen": _write(found[0]), "finalists": [_write(found[0])], "rate": None, "tokens": 0}
    simple = [each for each in baselines if each.kind == BASELINE and each.name != OPTIMUM]
    rivals = [*simple[:1], *(each for each in baselines if each.kind == SEQUENTIAL)]
    entrants = list({each.choices: each for each in reversed([*found, *rivals])}.values())[::-1]
    choice = choose_run_recipe(setting, entrants[0])
    rate = float(choice["recipe"][RATE])
    short = raise_rate(rate, steps=given.steps, short=given.finalist_steps)
    results = _try_all(setting, entrants, rate=short)
    losses = {each.choices: _read_loss(result) for each, result in zip(entrants, results, strict=True)}
    best = min(entrants, key=lambda each: losses[each.choices])
    if math.isinf(losses[best.choices]):
        raise TrainingError(
            f"Every finalist diverged at rate {short:g}. Give lower rates in recover.learning_rates, or "
            "check the text.",
            step=0,
        )
    logger.info("finalists: %s is recovered in full", best.name)
    return {
        "chosen": _write(best),
        "finalists": [{**_write(each), **one} for each, one in zip(entrants, results, strict=True)],
        "rate": rate,
        "choice": choice if choice["rungs"] else None,
        "tokens": choice["tokens"] + sum(result["tokens"] for result in results),
    }


def list_finalists(setting: Setting, searched: dict[str, Any]) -> list[Candidate]:
    """Return the best configurations of a search, leaving out those that hardly differ from a better one."""
    count = setting.config.search.finalists
    ranked = [tuple(choices) for choices in searched["best"]]
    chosen = ranked[:1]
    least = DIFFERENT * setting.space.n_slots
    for choices in ranked[1:]:
        if len(chosen) < count and all(_count_differences(choices, other) >= least for other in chosen):
            chosen.append(choices)
    return [Candidate(f"search {number}", OURS, choices) for number, choices in enumerate(chosen, start=1)]


def read_chosen(finalists: dict[str, Any]) -> Candidate:
    """Return the configuration that was chosen."""
    return Candidate(OURS, OURS, tuple(finalists["chosen"]["choices"]))


def _write(candidate: Candidate) -> dict[str, Any]:
    assert candidate.choices is not None
    return {"name": candidate.name, "choices": list(candidate.choices)}


def _try_all(setting: Setting, candidates: Sequence[Candidate], *, rate: float) -> list[dict[str, Any]]:
    """Recover candidates shortly at a learning rate; return what was measured in their order."""
    jobs = [
        Job(f"{each.name} at {rate:.3g}", measure_trial, (each, rate), (_name_result(setting, each, rate),))
        for each in candidates
    ]
    do_jobs(setting, jobs, what="finalists")
    found = [measure_trial(setting, each, rate) for each in candidates]
    for job, result in zip(jobs, found, strict=True):
        logger.info("%s: loss %s", job.name, write_loss(result["loss"]))
    return found


def measure_trial(setting: Setting, candidate: Candidate, rate: float) -> dict[str, Any]:
    """Try a candidate, or read what an interrupted start of the run has measured of it."""
    file, given = _name_result(setting, candidate, rate), setting.config.recover
    assert given is not None
    if not file.exists():
        place = file.with_name(file.name.removesuffix(".json"))
        result = try_candidate(setting, candidate, steps=given.finalist_steps, rate=rate, checkpoint=place)
        write_json(file, result)
    return read_object(
        file, keys=("loss", "tokens"), what="a finalist's recovery", cost="it is recovered again"
    )


def _name_result(setting: Setting, candidate: Candidate, rate: float) -> Path:
    return setting.folder.path / FOLDER / f"{candidate.name.replace(' ', '-')}-{rate:g}.json"


def _read_loss(result: dict[str, Any]) -> float:
    return math.inf if result["loss"] is None else float(result["loss"])


def _count_differences(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(left != right for left, right in zip(one, other, strict=True))


def describe_allocation(setting: Setting, candidate: Candidate) -> dict[str, Any]:
    """Return a configuration's labels and costs, for the result."""
    assert candidate.choices is not None
    allocation = Allocation(candidate.choices, setting.space)
    return {
        "slots": [
            {
                "name": slot.name,
                "block": slot.block,
                "kind": slot.kind,
                "label": list(label) if isinstance(label, tuple) else label,
                "full": slot.attribute("width", 0.0),
            }
            for slot, label in zip(setting.space.slots, allocation.values, strict=True)
        ],
        "costs": {name: allocation.cost(name) for name in setting.space.tables.resources},
    }
