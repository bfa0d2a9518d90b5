"""What `rankadaptor plan` says, beside what is measured, and what the default search costs.

    python -m experiments.bench.plan [--trials 3]

`plan_error` is |predicted - measured| / measured of one trial's seconds, on instruction rows and on text, for
the kit's model and with the products measured as `plan --measure` does. `search_to_finetune_ratio` is
counted, not timed: tokens of the search in a run of the defaults, over those of one of its full fine-tunes,
scoring included in both. The tuning before the search and the verdict after it are counted beside it.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from pathlib import Path
from typing import Any

from experiments.bench.document import RESULTS, merge_results, summarise
from rankadaptor.config import RunConfig
from rankadaptor.config.loading import build_run
from rankadaptor.planning import estimate

logger = logging.getLogger(__name__)
TARGET = 0.25
STEPS, HELD_OUT = 3, 16
SOURCES = {"alpaca": "kit:alpaca", "text": "kit:c4"}


def measure_plan(*, trials: int) -> dict[str, Any]:
    """Measure trials of each source and compare them with the plan made just before."""
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.data import load_rows
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.named_models import load
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import choose_compute

    compute = choose_compute()
    model, tokenizer = load("kit:smollm2-135m", compute=compute)
    space = RankSpace.from_model(model, like_uniform=8, slots="half_block")
    errors: list[float] = []
    details: dict[str, Any] = {}
    for name, source in SOURCES.items():
        measure = ShortFineTune(
            model,
            tokenizer,
            data=load_rows(source, limit=400),
            recipe=Recipe(),
            steps=STEPS,
            held_out_rows=HELD_OUT,
            setting="bench",
            compute=compute,
        )
        rows = []
        for trial in range(-1, trials):  # the first one warms up
            predicted = predict_trial(source)
            record = measure.run_trial(space.reference(), seed=trial + 1, steps=STEPS, loss_uniform=None)
            if trial < 0:
                continue
            rows.append({"predicted": round(predicted, 3), "measured": round(record.seconds, 3)})
            errors.append(abs(predicted - record.seconds) / record.seconds)
            logger.info("%s: %.1f s predicted, %.1f s measured", name, predicted, record.seconds)
        details[name] = {
            "seconds": rows,
            "predicted_over_measured": round(
                statistics.median(row["predicted"] / row["measured"] for row in rows), 4
            ),
        }
    return {**summarise("plan_error", errors), "plan": {"steps": STEPS, "target": TARGET, **details}}


def predict_trial(source: str) -> float:
    """Return the seconds of one trial: a tenth of what ten more of them add to a plan."""
    few, more = (
        estimate(
            build_run(
                {
                    "name": "bench",
                    "output": "runs/bench-plan",
                    "prune": None,
                    "data": {"train": source, "held_out_rows": HELD_OUT},
                    "search": {"steps": STEPS, "evaluations": evaluations},
                }
            ),
            measure=True,
        )
        for evaluations in (2, 12)
    )
    seconds = [next(step.seconds for step in plan.steps if step.name == "search") for plan in (few, more)]
    return (seconds[1] - seconds[0]) / 10


def count_search() -> dict[str, Any]:
    """Count the tokens of a run of the defaults."""
    config = RunConfig()
    plan = {step.name: step for step in estimate(config).steps}
    full = plan["recover"].tokens / plan["recover"].runs
    ratio = plan["search"].tokens / full
    return {
        "search_to_finetune_ratio": round(ratio, 4),
        "search_to_finetune_ratio_spread": [round(ratio, 4)] * 2,  # counted: it does not vary
        "search_cost": {
            "tokens_of_one_full_fine_tune": round(full),
            **{
                f"{name}_over_full_fine_tune": round(plan[name].tokens / full, 4)
                for name in ("tune", "search", "confirm")
            },
            "note": "tokens as planned: rows at their mean length, scored tokens counted like trained ones",
        },
    }


def main() -> None:
    """Measure, count and merge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument(
        "--count", action="store_true", help="only count the search's tokens; measure nothing"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    if given.count:
        merge_results("search_cost", count_search(), path=given.results)
        return
    found = {**count_search(), **measure_plan(trials=given.trials)}
    merge_results("plan", found, path=given.results)
    logger.info(
        "plan_error %s (target %s), search_to_finetune_ratio %s",
        found["plan_error"], TARGET, found["search_to_finetune_ratio"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
