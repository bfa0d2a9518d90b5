"""How a search with the trained predictor should propose, replayed on measured allocations.

    python experiments/bench/proposals.py

In every training setting with 40 measured allocations or more, left out in turn, a search may ask for these
allocations only, and is answered by their first measurement. After each of `COUNTS` short runs the measured
allocation that the predictor then expects most of is judged by its mean over all seeds, as a share of the
setting's spread. The held-out settings are not looked at. Writes `experiments/results/proposals.json`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.corpus import Corpus, Record
from rankadaptor.files import write_json
from rankadaptor.predictor import MetaPredictor
from rankadaptor.predictor.evidence import Evidence, choose_trainable, list_evidence
from rankadaptor.predictor.hierarchy import fit_hierarchy
from rankadaptor.results.table import Table
from rankadaptor.search.proposals import choose_score

logger = logging.getLogger(__name__)

RESULT = Path("experiments/results/proposals.json")
WAYS = {
    "greedy": ("greedy", "greedy"),
    "expected_improvement": ("expected_improvement", "expected_improvement"),
    "upper_confidence_bound": ("upper_confidence_bound", "upper_confidence_bound"),
    "greedy, then expected_improvement": ("greedy", "expected_improvement"),
    "expected_improvement, then greedy": ("expected_improvement", "greedy"),
    "thompson, then greedy": ("thompson", "greedy"),
}
"""How the first half of the short runs is proposed, and how the second."""
COUNTS, LEAST, DRAWS = (1, 2, 4, 8, 12), 40, 3


def main() -> None:
    """Replay every way in every setting, write and show."""
    logging.basicConfig(level=logging.WARNING)
    teachers, _ = choose_trainable(list_evidence(Corpus.load("meta_data")))
    rows = []
    for setting in teachers:
        if len(setting.observations) < LEAST:
            continue
        others = [(each.space, each.observations) for each in teachers if each.name != setting.name]
        hierarchy = fit_hierarchy(others)
        for way, proposals in WAYS.items():
            seeds = range(DRAWS if "thompson" in way else 1)  # the others draw nothing
            found = [replay(setting, MetaPredictor(hierarchy, seed=seed), proposals) for seed in seeds]
            for place, count in enumerate(COUNTS):
                gain = float(np.mean([gains[place] for gains in found]))
                rows.append({"setting": setting.name, "way": way, "short_runs": count, "gain": gain})
    write_json(RESULT, rows)
    print(tabulate(rows).to_markdown())  # noqa: T201


def replay(setting: Evidence, predictor: MetaPredictor, proposals: tuple[str, str]) -> list[float]:
    """Search among the measured allocations; return the gain after each of `COUNTS`, in spreads."""
    observations, space = setting.observations, setting.space
    answers: dict[tuple[int, ...], Record] = {}
    for record in sorted(setting.records, key=lambda each: each.seed):
        if record.gain is not None:
            answers.setdefault(record.values, record)
    values, spread = observations.values, float(observations.gains.std())
    told: list[Record] = []
    asked: list[int] = []
    seen, gains = predictor, []
    for turn in range(COUNTS[-1]):
        rest = [index for index in range(len(values)) if index not in asked]
        incumbent = max(0.0, float(seen.predict(space, values[asked]).mean.max())) if asked else 0.0
        score = choose_score(proposals[0] if 2 * turn < COUNTS[-1] else proposals[1])
        scores = score(seen.predict(space, values[rest]), incumbent, 100 * predictor.seed + turn)
        asked.append(rest[int(np.argmax(scores))])
        told.append(answers[tuple(values[asked[-1]].tolist())])
        seen = predictor.update(space, told)
        if turn + 1 in COUNTS:
            means = seen.predict(space, values[asked]).mean
            gains.append(float(observations.gains[asked[int(np.argmax(means))]]) / spread)
    return gains


def tabulate(rows: Sequence[dict[str, Any]]) -> Table:
    """Return means over settings, a line a way."""
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
