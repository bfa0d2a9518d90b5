"""Compare proposal strategies with the trained predictor, replayed on measured allocations.

    python -m experiments.predictors.proposals

In every setting with at least 40 measured allocations, a search may only propose these, and their first
measurement is returned. After each of `COUNTS` short runs, the allocation with the highest predicted gain is
scored by its mean gain over all seeds, in units of the setting's spread. Training settings are left out in
turn; decision 0020 was taken on them alone, and the held-out ones were evaluated later. Two strategies use no
corpus: `distance` uses only the distance from uniform; `untaught` is a Gaussian process that starts with four
distant allocations and then uses expected improvement. Writes `experiments/results/proposals.json`, a figure,
and the parts `proposals` of `docs/what-to-expect.md` and `docs/predictors.md`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.expectations import FIGURES, PAGE
from experiments.predictors.distance import Distance
from experiments.predictors.guidance import write_replay
from experiments.predictors.guidance_figures import plot_replay
from rankadaptor.corpus import Corpus, Record
from rankadaptor.files import read_json, write_bytes, write_json
from rankadaptor.plots import to_png
from rankadaptor.predictor import GaussianProcess, MetaPredictor, Predictor
from rankadaptor.predictor.evidence import Evidence, choose_trainable, list_evidence
from rankadaptor.predictor.prior.hierarchy import Hierarchy, fit_hierarchy
from rankadaptor.predictor.prior.width import calibrate_width
from rankadaptor.report.markers import update_markers
from rankadaptor.results.table import Table
from rankadaptor.search.initial_design import choose_apart
from rankadaptor.search.proposals import choose_score
from rankadaptor.space import Values

logger = logging.getLogger(__name__)

RESULT = Path("experiments/results/proposals.json")
DOCUMENT = Path("docs/predictors.md")
FIGURE = Path("experiments/results/figures/proposals.png")
DEFAULT, CLOSE, UNTAUGHT, INITIAL = "greedy", "distance", "untaught", 4
SHOWN = {
    DEFAULT: "with the trained predictor",
    CLOSE: "by the distance from uniform alone",
    UNTAUGHT: "without a corpus",
}
WAYS = {
    "greedy": ("greedy", "greedy"),
    "expected_improvement": ("expected_improvement", "expected_improvement"),
    "upper_confidence_bound": ("upper_confidence_bound", "upper_confidence_bound"),
    "greedy, then expected_improvement": ("greedy", "expected_improvement"),
    "expected_improvement, then greedy": ("expected_improvement", "greedy"),
    "thompson, then greedy": ("thompson", "greedy"),
    CLOSE: ("greedy", "greedy"),
    UNTAUGHT: ("expected_improvement", "expected_improvement"),
}
"""Proposal rules of the first and second half of the short runs."""
COUNTS, LEAST, DRAWS = (1, 2, 4, 8, 12), 40, 3


def main() -> None:
    """Replay unless `--only-write` is given, and write the documents."""
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="write documents from the result")
    if not parser.parse_args().only_write:
        write_json(RESULT, measure())
    write_documents(read_json(RESULT))


def measure() -> list[dict[str, Any]]:
    """Replay every strategy in every setting."""
    evidence = list_evidence(Corpus.load("meta_data"))
    teachers, _ = choose_trainable(evidence)
    rows = []
    for setting in evidence:
        if len(setting.observations) < LEAST:
            continue
        others = [(each.space, each.observations) for each in teachers if each.name != setting.name]
        hierarchy = calibrate_width(fit_hierarchy(others), others)
        for way, proposals in WAYS.items():
            seeds = range(DRAWS if "thompson" in way else 1)  # the others are deterministic
            found = [
                replay(
                    setting,
                    choose_predictor(way, hierarchy, seed=seed),
                    proposals,
                    initial=INITIAL if way == UNTAUGHT else 0,
                )
                for seed in seeds
            ]
            for place, count in enumerate(COUNTS):
                gain = float(np.mean([gains[place] for gains in found]))
                rows.append(
                    {
                        "setting": setting.name,
                        "held_out": setting.held_out,
                        "way": way,
                        "short_runs": count,
                        "gain": gain,
                    }
                )
    return rows


def write_documents(rows: Sequence[dict[str, Any]]) -> None:
    """Write tables and figure."""
    tables = []
    for held_out, label in ((False, "Left out in turn"), (True, "Held out")):
        own = [row for row in rows if row["held_out"] is held_out]
        settings = len({row["setting"] for row in own})
        tables.append(f"**{label}**: {settings} settings.\n\n{tabulate(own).to_markdown().rstrip()}")
    update_markers(DOCUMENT, {"proposals": "\n\n".join(tables)})
    write_bytes(FIGURE, to_png(plot_replay(rows, ways=SHOWN)))
    replayed = write_replay(rows, figure=(FIGURES / FIGURE.name).as_posix(), ways=SHOWN)
    update_markers(PAGE, {"proposals": replayed})


def choose_predictor(way: str, hierarchy: Hierarchy, *, seed: int) -> Predictor:
    """Return the predictor of a strategy."""
    if way == UNTAUGHT:
        return GaussianProcess(seed=seed)
    return Distance() if way == CLOSE else MetaPredictor(hierarchy, seed=seed)


def replay(
    setting: Evidence, predictor: Predictor, proposals: tuple[str, str], *, initial: int = 0
) -> list[float]:
    """Search among the measured allocations; return the gain after each of `COUNTS`, in spreads."""
    observations, space = setting.observations, setting.space
    answers: dict[Values, Record] = {}
    for record in sorted(setting.records, key=lambda each: each.seed):
        if record.gain is not None:
            answers.setdefault(record.values, record)
    choices, spread = observations.choices, float(observations.gains.std())
    told: list[Record] = []
    asked: list[int] = []
    seen, gains = predictor, []
    for turn in range(COUNTS[-1]):
        rest = [index for index in range(len(choices)) if index not in asked]
        incumbent = max(0.0, float(seen.predict(space, choices[asked]).mean.max())) if asked else 0.0
        score = choose_score(proposals[0] if 2 * turn < COUNTS[-1] else proposals[1])
        if turn < initial:
            (apart,) = choose_apart(space, choices[rest], choices[asked], count=1)
            asked.append(next(index for index in rest if (choices[index] == apart).all()))
        else:
            scores = score(seen.predict(space, choices[rest]), incumbent, turn)
            asked.append(rest[int(np.argmax(scores))])
        told.append(answers[observations.labels[asked[-1]]])
        seen = predictor.update(space, told)
        if turn + 1 in COUNTS:
            means = seen.predict(space, choices[asked]).mean
            gains.append(float(observations.gains[asked[int(np.argmax(means))]]) / spread)
    return gains


def tabulate(rows: Sequence[dict[str, Any]]) -> Table:
    """Return means over settings, one row per strategy."""
    lines = []
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        means = [
            float(np.mean([row["gain"] for row in own if row["short_runs"] == count])) for count in COUNTS
        ]
        lines.append((way, *(f"{mean:+.2f}".replace("-", "−") for mean in means)))
    header = ("way", *(f"{count} short runs" for count in COUNTS))
    return Table(name="proposals", title="Gain of what is handed over", header=header, rows=tuple(lines))


if __name__ == "__main__":
    main()
