"""Measure stored records again, to check that the commands of a corpus reproduce them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Corpus, Record
from rankadaptor.errors import InputError
from rankadaptor.pipeline.preparation import complete_preparation, load_space, pick_compute
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.trials import build_measure
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.progress import Progress

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Allowed difference of a repeated loss, nats per token; on one thread of one kind of processor it is 0."""


@dataclass(frozen=True)
class Repetition:
    """A stored record and the loss measured again, in nats per token; None if it diverged."""

    record: Record
    loss: float | None

    @property
    def difference(self) -> float | None:
        """Loss measured again minus loss stored."""
        return None if self.loss is None or self.record.loss is None else self.loss - self.record.loss

    @property
    def agrees(self) -> bool:
        """Whether both failed, or both losses agree within `TOLERANCE`."""
        if self.record.loss is None or self.loss is None:
            return self.record.loss is None and self.loss is None
        return abs(self.loss - self.record.loss) <= TOLERANCE


def repeat_records(
    config: RunConfig, count: int, *, seed: int = 0, output: Path | None = None
) -> list[Repetition]:
    """Measure `count` stored records of the run's setting again; nothing is written to the corpus.

    The model is pruned and the recipe tuned again if the run's folder does not hold them.

    Args:
        config: The run whose setting is repeated.
        count: Number of records.
        seed: Seed of the choice of records.
        output: Folder of the collection; the run's own by default.

    Raises:
        InputError: If the corpus holds no record of the setting.
    """
    stored = Corpus.load(config.collect.corpus).records(config.name)
    if not stored:
        raise InputError(
            f"{config.collect.corpus} holds no record of {config.name}. Measure some first: "
            "rankadaptor collect."
        )
    places = np.random.default_rng(seed).permutation(len(stored))[:count]
    compute = pick_compute(config)
    with open_run(output or Path(config.output), config) as folder:
        complete_preparation(folder, config, compute=compute)
        space = load_space(folder, config)
        source, _ = tune_setting(folder, config, space, setting=config.name, compute=compute)
        measure = build_measure(source)
        repeated = []
        with Progress("repeat", len(places), unit="records", interval=0.0) as progress:
            for place in places:
                record = stored[place]
                again = measure.run_trial(
                    space.allocation(record.values),
                    seed=record.seed,
                    steps=record.steps,
                    loss_uniform=record.loss_reference,
                )
                repeated.append(Repetition(record, again.loss))
                progress.advance(note=f"stored {record.loss}, measured {again.loss}")
    return repeated
