"""Measure the scores without training on every setting of the corpus, into `meta_data/scores`.

    python -m experiments.collect.scores

Settings are pruned again, in `runs/scores/<name>`; settings with existing scores are skipped. `rankadaptor
benchmark` includes every score found there.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.config import RunConfig, load_run
from rankadaptor.corpus import Corpus
from rankadaptor.data import tokenise_rows
from rankadaptor.features import ScoreTable
from rankadaptor.files import write_text
from rankadaptor.named_models import load
from rankadaptor.pipeline.data_split import split_data
from rankadaptor.pipeline.preparation import pick_compute, prepare_model
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.proxies import measure_reconstruction, measure_spectra, measure_variance
from rankadaptor.space import Space

logger = logging.getLogger(__name__)

EXAMPLES = 64
DIGITS = 6


def main() -> None:
    """Measure what is missing."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    corpus = Corpus.load("meta_data")
    for name in corpus.names():
        target, file = (
            Path("meta_data/scores") / f"{name}.jsonl",
            Path("experiments/collect") / f"{name}.yaml",
        )
        if target.exists() or not file.exists():
            continue
        tables = measure_scores(load_run(file), corpus.space(name))
        write_text(target, "".join(json.dumps(shorten(table).to_json()) + "\n" for table in tables))
        logger.info("wrote %s: %s", target, ", ".join(table.kind for table in tables))


def measure_scores(config: RunConfig, space: Space) -> list[ScoreTable]:
    """Score the ranks of one setting in every way that applies to it."""
    compute = pick_compute(config)
    with open_run(Path("runs/scores") / config.name, config) as folder:
        folder.complete("prepare", lambda: prepare_model(folder, config, compute=compute))
        model, tokenizer = load(folder.pruned, compute=compute)
    rows, _ = split_data(config).load()
    sequences = tokenise_rows(rows, tokenizer, max_length=config.recipe.sequence_length)
    given: dict[str, Any] = {"compute": compute, "examples": EXAMPLES, "seed": config.seed}
    tables = [
        measure_spectra(model, space, sequences, **given),
        measure_variance(model, space, sequences, **given),
    ]
    if config.prune is not None:  # else there is no dense model to compare with
        dense, _ = load(config.model, compute=compute)
        tables.append(measure_reconstruction(model, dense, space, sequences, **given))
    damage = measure_damage(space)
    return [*tables, damage] if damage is not None else tables


def measure_damage(space: Space) -> ScoreTable | None:
    """Score ranks by the importance removed by pruning; None if it is equal everywhere."""
    lost = np.array([slot.attribute("lost_importance") for slot in space.slots])
    if np.ptp(lost) <= 1e-9:
        return None
    option_scores = []
    for share, slot in zip(lost.tolist(), space.slots, strict=True):
        ranks = np.array([option for option in slot.options if isinstance(option, int)], dtype=float)
        option_scores.append(tuple((share * slot.attribute("cost_per_unit") * np.log1p(ranks)).tolist()))
    options = tuple(slot.options for slot in space.slots)
    return ScoreTable("damage", space.digest, options, tuple(option_scores))


def shorten(table: ScoreTable) -> ScoreTable:
    """Keep six digits, which no order depends on."""
    option_scores = tuple(tuple(float(f"{worth:.{DIGITS}g}") for worth in row) for row in table.option_scores)
    return dataclasses.replace(table, option_scores=option_scores)


if __name__ == "__main__":
    main()
