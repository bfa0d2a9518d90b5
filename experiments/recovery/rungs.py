"""How a rate should be chosen from trainings that are shorter than the one it is for.

python -m experiments.recovery.rungs experiments/recovery/llama-8x128.yaml

Trains one pruned model at many rates and lengths, every training with a schedule of its own length, and keeps
the losses that the longer ones passed on their way. The table says what each way of choosing from the short
ones would have cost at the long one, beside the best rate there.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.program import run_program
from experiments.recovery.config import Study, load_study
from experiments.recovery.execution import make_training_recipe
from experiments.recovery.models import Inputs
from experiments.recovery.rates import make_rate
from experiments.recovery.records import FOLDER, Records
from experiments.recovery.training import TUNING_SEED, UNIFORM, Training
from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus.lines import append_json, read_lines
from rankadaptor.data.text_sets import SEARCH
from rankadaptor.errors import TrainingError
from rankadaptor.files import write_json
from rankadaptor.recovery.final import train_adapter

RESULT = Path("experiments/results/rungs.json")
STEPS = (10, 20, 40, 80, 160)
POSITIONS = range(-3, 6)
RATIO = 0.5
EXPONENTS = (0.0, 0.15, 0.25, 0.35, 0.5)
SHARES = (8, 4, 2)
"""Times that the long training is longer than those that choose."""

Losses = Mapping[tuple[int, int], Mapping[int, float]]
"""Position of the rate and steps → loss on the search text after so many of the steps."""


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the study")
    study = load_study(parser.parse_args().file)
    losses = measure_curves(study)
    rows = [{"setting": study.name, "ratio": RATIO, **row} for row in compare_choices(losses)]
    write_json(RESULT, rows)
    for row in rows:
        cells = (f"{name} {regret:.4f}" for name, regret in row["regret"].items())
        sys.stdout.write(f"{row['steps']} from {row['short']}: " + ", ".join(cells) + "\n")
    sys.stdout.write(f"wrote {RESULT}\n")


def measure_curves(study: Study) -> Losses:
    """Train at every rate and length that is not recorded yet, and return all losses."""
    path = FOLDER / f"{study.name}-rungs.jsonl"
    found: dict[tuple[int, int], dict[int, float]] = {
        (line["position"], line["steps"]): {int(step): loss for step, loss in line["losses"].items()}
        for _, line in read_lines(path)
    }
    inputs = Inputs(study, Records(study.name))
    for steps in STEPS:
        for position in POSITIONS:
            if (position, steps) in found:
                continue
            training = Training(
                UNIFORM, RATIO, steps * study.tokens_per_step, make_rate(position), TUNING_SEED
            )
            curve = _train(training, inputs)
            found[position, steps] = curve
            append_json(path, {"position": position, "steps": steps, "losses": curve, **training.to_json()})
    return found


def _train(training: Training, inputs: Inputs) -> dict[int, float]:
    recipe, sequences = make_training_recipe(training, inputs)
    model = inputs.load_structure(training.widths, training.ratio)
    space = RankSpace.from_model(model, like_uniform=recipe.reference_rank)
    try:
        _, result = train_adapter(
            model,
            space.reference(),
            recipe,
            sequences=sequences,
            held_out=inputs.texts[SEARCH],
            steps=recipe.steps,
            seed=training.seed,
            compute=inputs.compute,
            evaluate_every=STEPS[0],
        )
    except TrainingError:
        return {}
    return {point.step: point.loss for point in result.curve}


def compare_choices(losses: Losses) -> list[dict[str, Any]]:
    """Return what each way of choosing costs at each length, in nats per token beside the best rate.

    `cut` reads the losses of trainings with the long schedule at the short length. The others train with a
    schedule of the short length, and lower the rate that was best by the power of the lengths' ratio.
    """
    rows = []
    for steps in STEPS:
        for share in SHARES:
            short = steps // share
            if short not in STEPS or steps % share:
                continue
            final = {position: _end(losses, position, steps) for position in POSITIONS}
            best = min(final.values())
            passed = {each: losses[each, steps].get(short, math.inf) for each in POSITIONS}
            ended = {each: _end(losses, each, short) for each in POSITIONS}
            cut, own = min(passed, key=passed.__getitem__), min(ended, key=ended.__getitem__)
            regret = {"cut": final[cut] - best}
            for power in EXPONENTS:
                moved = own - power * math.log(share) / math.log(math.sqrt(3))
                nearest = min(max(round(moved), POSITIONS[0]), POSITIONS[-1])
                regret[f"own schedule, power {power:g}"] = final[nearest] - best
            rows.append(
                {
                    "steps": steps,
                    "short": short,
                    "best_rate": make_rate(min(final, key=final.__getitem__)),
                    "best_rate_short": make_rate(own),
                    "regret": regret,
                }
            )
    return rows


def _end(losses: Losses, position: int, steps: int) -> float:
    return losses[position, steps].get(steps, math.inf)


if __name__ == "__main__":
    run_program(main)
