"""Measure further studies of a setting: other recipes, and benchmarks of its best and worst allocations.

    rankadaptor collect experiments/collect/NAME.yaml
    python -m experiments.collect experiments/collect/NAME.yaml

The first command measures the records of the corpus. The second adds the studies of `studies.yaml` to
`studies/<setting>.json` there; it uses the run folder of the first, and continues where it stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from experiments.collect.extremes import score_extremes
from experiments.collect.recipes import study_recipe
from experiments.collect.studies import STUDIES, SettingStudies, load_studies
from experiments.program import run_program
from rankadaptor.config import RunConfig, load_run
from rankadaptor.corpus import Corpus
from rankadaptor.corpus.studies import add_to_study
from rankadaptor.errors import InputError
from rankadaptor.pipeline.preparation import complete_preparation, load_space, pick_compute
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.tuning import tune_setting

logger = logging.getLogger(__name__)


def main() -> None:
    """Measure the studies of one setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN.yaml")
    parser.add_argument("--studies", type=Path, default=STUDIES)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C")
    given = parser.parse_args()
    config = load_run(given.run, given.set)
    measure_studies(config, load_studies(config.name, given.studies))


def measure_studies(config: RunConfig, given: SettingStudies) -> None:
    """Measure a setting's studies and add them to its corpus, each part as soon as it is measured.

    Raises:
        InputError: If the corpus does not hold the setting.
        CorpusError: If the corpus has a fault.
    """
    folder_of_corpus = Path(config.collect.corpus)
    corpus = Corpus.load(folder_of_corpus) if folder_of_corpus.is_dir() else None
    if corpus is None or config.name not in corpus.names():
        raise InputError(
            f"{folder_of_corpus} holds no setting {config.name}. Measure it with `rankadaptor collect` first."
        )
    compute = pick_compute(config)
    with open_run(Path(config.output), config) as folder:
        complete_preparation(folder, config, compute=compute)
        space = load_space(folder, config)
        source, _ = tune_setting(folder, config, space, setting=config.name, compute=compute)
        if given.recipe is not None:
            add_to_study(
                corpus.folder,
                config.name,
                study_recipe(config, source, given.recipe, steps=config.search.steps),
            )
        if given.benchmarks is not None:
            scored = score_extremes(folder, config, source, corpus.records(config.name), given.benchmarks)
            add_to_study(corpus.folder, config.name, {"benchmarks": scored})
    logger.info("%s: studies of %s", config.collect.corpus, config.name)


if __name__ == "__main__":
    run_program(main)
