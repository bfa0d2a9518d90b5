"""Replay successive halving on allocations measured at all lengths.

    python -m experiments.cheaper.halving

Every allocation of a comparison has a gain at an eighth, a quarter and all of the full length. Halving uses
the first for all, the second for the best third, and the last for the best third of those. It orders
allocations by the rung they reached, then by their gain there. Adds `successive_halving` to the measures of
each setting in `experiments/results/cheaper.json`. Its last rung is the full length under the search's own
seed, so it is compared only with the fresh seed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.corpus import Corpus, Record
from rankadaptor.files import read_json, write_json
from rankadaptor.proxies import judge_fidelity
from rankadaptor.search.halving import halve, rank_records
from rankadaptor.space import Allocation, Space, Values

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parents[1] / "results" / "cheaper.json"
RUNGS = {"steps_1/8": 8, "steps_1/4": 4, "full_search_seed": 1}
"""Label of the gains of each rung, and its part of the full length."""
TARGET = "full_fresh_seed"

Gains = Mapping[Values, float]


def main() -> None:
    """Evaluate halving in every compared setting."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    document, corpus = read_json(RESULT), Corpus.load("meta_data")
    for name, setting in document["settings"].items():
        values = [tuple(each) for each in setting["values"]]
        gains = {label: dict(zip(values, found, strict=True)) for label, found in setting["gains"].items()}
        found = replay_halving(corpus.space(name), gains, full=setting["full_steps"])
        setting["measures"]["successive_halving"] = found
        logger.info("%s: %s", name, found)
    write_json(RESULT, document)


def replay_halving(space: Space, gains: Mapping[str, Gains], *, full: int) -> dict[str, Any]:
    """Run `halve` on stored gains, and evaluate its order.

    Args:
        space: Of the allocations.
        gains: By label and values, nats per token; each rung's and the target's.
        full: Steps of the full length.

    Returns:
        `full_runs` (its cost, uniform of every rung included), `rungs` (allocations at each) and
        `against_fresh_seed`.
    """
    labels = {full // part: label for label, part in RUNGS.items()}
    spent = 0.0

    def measure(allocations: Sequence[Allocation], steps: int) -> list[Record]:
        nonlocal spent
        spent += (len(allocations) + 1) * steps / full
        return [_record(each.values, gains[labels[steps]][each.values], steps, full) for each in allocations]

    allocations = [space.allocation(values) for values in gains[TARGET]]
    halving = halve(allocations, measure, rungs=sorted(labels))
    order: dict[Values, None] = {}
    for rung in reversed(halving.rungs):
        order.update(dict.fromkeys(record.values for record in rank_records(rung.records)))
    places = {values: -float(place) for place, values in enumerate(order)}
    return {
        "full_runs": spent,
        "rungs": [len(rung.records) for rung in halving.rungs],
        "against_fresh_seed": judge_fidelity(places, gains[TARGET]).to_json(),
    }


def _record(values: Values, gain: float, steps: int, full: int) -> Record:
    return Record.of_fine_tune(
        setting="stored", values=values, seed=0, steps=steps, fidelity=steps / full, loss=-gain,
        loss_reference=0.0, parameters=0, tokens=0, seconds=0.0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
