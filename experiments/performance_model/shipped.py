"""Train the model of damage that is part of the package, and write its card.

python -m experiments.performance_model.shipped

It is trained on all settings of the corpus of slices that are not held out. A corpus of your own takes the
place of the shipped one, or is added to it: `--corpus` may be repeated, and `--output` names the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.performance_model.__main__ import COMMAND, RESULT
from experiments.performance_model.cases import Case, read_cases
from experiments.performance_model.contestants import TRAINED, train
from experiments.performance_model.judging import COUNTS, FRONT, RANDOM, Row
from experiments.program import run_program
from experiments.rows import read_rows
from experiments.slice_corpus.__main__ import INTO as CORPUS
from rankadaptor.errors import CorpusError
from rankadaptor.files import compute_digest, write_text
from rankadaptor.predictor.damage.shipped import SHIPPED, save_trained_damage
from rankadaptor.predictor.damage.trained import TrainedDamage
from rankadaptor.results.table import ABSENT, Table

CARD = """\
# Model card: the trained model of damage

Written by `python -m experiments.performance_model.shipped`. It predicts by how much an allocation of widths,
depth and types raises the KL divergence to the dense model, before the first score, from slot features. They
cost a few passes over a calibration text (`rankadaptor.measure.slot_sensitivity`). Records of a search
correct it. `rankadaptor.predictor.damage.shipped.load_trained_damage()` loads it; no job uses it yet.

Trained on {records:,} records of {count} settings, corpus digest `{digest}`.

{settings}
Not trained on, because held out: {held_out}.

## Benchmark

Kendall's τ inside a band of sizes, of models that were trained without the family they are judged on: over
random allocations, and over the best fifth of the records of one search. Means over settings and bands.

{benchmark}
## When not to trust it

- It was trained on small models, and it has seen none of a billion parameters or more.
- Before the first record its order near the optimum is no better than chance: there only the records of the
  search itself help.
- It has seen no types below four bits beside widths, and none that are not grids of groups.
- Types are ordered by what the features say about these weights. Features that were computed in bfloat16 do
  not see what eight bits round; compute them in float32.
- It predicts scores without recovery.
"""


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", help=f"corpora; {CORPUS} by default")
    parser.add_argument("--rows", type=Path, default=RESULT, help=f"benchmark; {RESULT} by default")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="the model; the card lies beside it")
    given = parser.parse_args()
    cases = [case for root in given.corpus or [CORPUS] for case in read_cases(root)]
    trained = train_shipped(cases)
    save_trained_damage(trained, given.output)
    rows = read_rows(given.rows, command=COMMAND)
    card = given.output.with_suffix(".md")
    write_text(card, write_card(cases, trained, rows))
    sys.stdout.write(f"wrote {given.output} and {card}\n")


def train_shipped(cases: Sequence[Case]) -> TrainedDamage:
    """Train on all settings that are not held out.

    Raises:
        CorpusError: If all are.
    """
    used = [case for case in cases if not case.held_out]
    if not used:
        raise CorpusError("all settings are held out. Collect one that is not.")
    trained = train(used)
    digest = compute_digest(
        {case.name: [[list(map(str, r.values)), r.fidelity, r.kl] for r in case.records] for case in used}
    )
    card = {**trained.card, "names": [case.name for case in used], "corpus": digest}
    return dataclasses.replace(trained, card=card)


def write_card(cases: Sequence[Case], trained: TrainedDamage, rows: Sequence[Row]) -> str:
    """Return the card."""
    used = [case for case in cases if not case.held_out]
    settings = Table(
        name="settings",
        title="Settings",
        header=("setting", "family", "slots", "records"),
        rows=tuple((c.name, c.family, f"{c.space.n_slots}", f"{len(c.records):,}") for c in used),
    )
    return CARD.format(
        records=trained.card["records"],
        count=trained.card["settings"],
        digest=trained.card["corpus"],
        settings=settings.to_markdown(),
        held_out=", ".join(case.name for case in cases if case.held_out) or "none",
        benchmark=_tabulate(rows).to_markdown(),
    )


def _tabulate(rows: Sequence[Row]) -> Table:
    lines = []
    for region in (RANDOM, FRONT):
        cells = []
        for count in COUNTS:
            found = [
                row["kendall"]
                for row in rows
                if (row["predictor"], row["held_out"], row["region"], row["records"])
                == (TRAINED, "family", region, count)
            ]
            cells.append(f"{np.mean(found):.2f}" if found else ABSENT)
        lines.append((region, *cells))
    header = ("τ", *(f"{count} records" for count in COUNTS))
    return Table(name="benchmark", title="Benchmark", header=header, rows=tuple(lines))


if __name__ == "__main__":
    run_program(main)
