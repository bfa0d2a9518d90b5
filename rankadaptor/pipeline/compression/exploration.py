"""Sweep and search: one-at-a-time scores, the exact optimum of their sum, refinement on the true score."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from rankadaptor.corpus import Record
from rankadaptor.corpus.record import KL
from rankadaptor.errors import InputError
from rankadaptor.features import SlotValues
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.swept_rules import list_widths_first
from rankadaptor.pipeline.text_jobs.score_log import Follow
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.progress import Progress
from rankadaptor.search import (
    EarlyElimination,
    Refinement,
    Search,
    estimate_slot_values,
    plan_sweep,
    solve_exact,
)
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

SWEEP_SHARE = 0.6
"""Share of the evaluations that the sweep may take."""
CHUNK = 8
"""Configurations that each worker scores before they are told to the log and the tracker."""
BATCH = 4
"""Configurations proposed at a time."""
CANDIDATES = 2000
KEPT = 50
"""Best configurations that the search's result names."""


def sweep(setting: Setting, *, follow: Follow) -> dict[str, Any]:
    """Score configurations that differ from the dense one in one slot.

    Returns:
        `space` (its sizes), `evaluations`, `tokens`.
    """
    planned = plan_sweep(setting.space, evaluations=_count_sweep(setting))
    records: list[Record] = []
    with Progress("sweep", len(planned), unit="scores", interval=0.0) as progress:
        chunk = CHUNK * setting.workers
        for start in range(0, len(planned), chunk):
            found = setting.score.measure(planned[start : start + chunk])
            records += found
            follow(found)
            progress.advance(len(found))
    return {
        "space": describe_space(setting),
        "records": [list(setting.space.find_choices(record.values)) for record in records],
        "evaluations": len(records),
        "tokens": sum(record.tokens for record in records),
    }


def read_sweep(setting: Setting, swept: dict[str, Any]) -> list[Record]:
    """Return the records of a finished sweep."""
    allocations = [Allocation(tuple(choices), setting.space) for choices in swept["records"]]
    return list(setting.score.measure(allocations))


def estimate_sweep(setting: Setting, swept: dict[str, Any]) -> SlotValues:
    """Return the value of every option from a finished sweep."""
    return estimate_slot_values(setting.space, read_sweep(setting, swept))


def search(setting: Setting, swept: dict[str, Any], *, follow: Follow) -> dict[str, Any]:
    """Find the configurations of lowest KL divergence that keep all limits.

    Returns:
        `optimum` and `best` (choices, the best first), `kl`, `history`, `evaluations`, `tokens`.
    """
    values = estimate_sweep(setting, swept)
    optimum = setting.space.from_choices(solve_exact(setting.space, values))
    evaluations = max(setting.config.search.evaluations - swept["evaluations"], 1)
    refining = refine_optimum(setting, values, optimum)
    records = run_screened(setting, refining, evaluations=evaluations, follow=follow)
    ranked = rank_records(records)
    first = next(record for record in records if record.values == optimum.values)
    logger.info(
        "search: KL %.4f of the sweep's optimum, %.4f of the best of %d configurations",
        first.metrics.get(KL, math.nan), ranked[0].metrics[KL], len(records),
    )  # fmt: skip
    return {
        "optimum": list(optimum.choices),
        "best": [list(setting.space.find_choices(record.values)) for record in ranked[:KEPT]],
        "kl": {"optimum": first.metrics.get(KL), "best": ranked[0].metrics[KL]},
        "history": [
            {"kl": record.metrics.get(KL), "tokens": record.tokens, "fidelity": record.fidelity}
            for record in records
        ],
        "evaluations": len(records),
        "tokens": sum(record.tokens for record in records),
    }


def refine_optimum(setting: Setting, values: SlotValues, optimum: Allocation) -> Search:
    """Return the search of the run: it learns from every score.

    It starts from the sweep's optimum and from the configurations that choose widths first with one type
    everywhere, then types: sums of one-at-a-time scores misjudge strong compression, each in another way.
    """
    kinds = setting.config.choices.types
    others = dict.fromkeys(choices for _, choices in list_widths_first(setting.space, values, kinds))
    starts = [optimum, *(Allocation(choices, setting.space) for choices in others)]
    return Search(
        setting.space,
        SweepPredictor(values, seed=setting.config.seed),
        seed=setting.config.seed,
        candidates=CANDIDATES,
        refinement=Refinement(starts=tuple(starts)),
    )


def run_screened(setting: Setting, search: Search, *, evaluations: int, follow: Follow) -> list[Record]:
    """Run a search on the score with early elimination.

    Returns:
        The records of all configurations.
    """
    records: list[Record] = []
    measure = EarlyElimination(setting.score.measure, tokens=setting.count_screened())
    with Progress("search", evaluations, unit="scores", interval=0.0) as progress:

        def measure_batch(batch: Sequence[Allocation]) -> list[Record]:
            found = measure(batch)
            records.extend(found)
            follow(found)
            best = min((record.metrics.get(KL, math.inf) for record in records), default=math.inf)
            progress.advance(len(found), note=f"best KL {best:.4f}")
            return found

        search.run_batches(measure_batch, evaluations=evaluations, batch=BATCH)
    return records


def describe_space(setting: Setting) -> dict[str, Any]:
    """Return the sizes of the space and its limits."""
    space = setting.space
    dense = space.reference()
    return {
        "slots": space.n_slots,
        "options": sum(len(slot.options) for slot in space.slots),
        "limits": {limit.resource: limit.bound for limit in space.limits},
        "dense": {name: dense.cost(name) for name in space.tables.resources},
        "digest": space.digest,
    }


def _count_sweep(setting: Setting) -> int:
    evaluations = setting.config.search.evaluations
    default = 2 * len(setting.space.tables.searchable)
    return max(1, min(default, int(SWEEP_SHARE * evaluations)))


def rank_records(records: Sequence[Record]) -> list[Record]:
    """Return the records on all tokens by their divergence, each configuration once.

    Raises:
        InputError: If there is none.
    """
    whole = [record for record in records if record.status == "ok" and record.fidelity >= 1.0]
    unique = {record.values: record for record in reversed(whole)}
    if not unique:
        raise InputError(
            "no configuration inside the limits gave a finite score. Raise the limits, or check the text."
        )
    return sorted(unique.values(), key=lambda record: record.metrics[KL])
