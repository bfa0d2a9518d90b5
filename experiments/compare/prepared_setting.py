"""A setting that is pruned and whose recipe is tuned; all methods of a comparison share it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import add_scales
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.pipeline.preparation import complete_preparation, load_space, pick_compute
from rankadaptor.pipeline.run_folder import RunFolder, open_run
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.recipe import Recipe
from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedSetting:
    """A pruned setting with a tuned recipe, in which methods are compared.

    Attributes:
        config: The setting's run file.
        folder: Where all measurements are kept.
        source: Model, data, space and tuned recipe of the trials.
        pool: Measures trials; a trial that several methods ask for is measured once.
        losses: Held-out loss, nats per token: `pruned` and, if the model was pruned here, `dense`.
        model_digest: Digest of the pruned model, in the precision it was pruned in.
        pruned_as: The pruning settings; they identify the model where digests differ between precisions.
        tuning_tokens: Tokens trained to tune the shared recipe.
    """

    config: RunConfig
    folder: RunFolder
    source: TrialSource
    pool: TrialPool
    losses: dict[str, float]
    model_digest: str
    pruned_as: Mapping[str, Any]
    tuning_tokens: int

    @property
    def space(self) -> Space:
        """The space of allocations."""
        return self.source.space

    @property
    def seed(self) -> int:
        """The seed that methods search under."""
        return self.config.seed

    @property
    def steps(self) -> int:
        """Optimiser steps of a trial."""
        return self.config.search.steps

    @contextlib.contextmanager
    def with_scales(self) -> Iterator[PreparedSetting]:
        """Open the same setting with LoRA scales in its space; its trials have their own record file."""
        source = dataclasses.replace(
            self.source,
            space=add_scales(self.space),
            records=self.folder.path / "widened" / "records.jsonl",
        )
        with TrialPool(source, workers=self.pool.workers) as pool:
            yield dataclasses.replace(self, source=source, pool=pool)

    @contextlib.contextmanager
    def change(self, recipe: Recipe) -> Iterator[PreparedSetting]:
        """Open the same setting with another recipe; its trials have their own record file."""
        if recipe == self.source.recipe:
            yield self
            return
        initialisation = (
            "" if recipe.initialisation == self.source.recipe.initialisation else f"-{recipe.initialisation}"
        )
        records = self.folder.path / f"records-rate-{recipe.learning_rate:.4g}{initialisation}.jsonl"
        source = dataclasses.replace(self.source, recipe=recipe, records=records)
        with TrialPool(source, workers=self.pool.workers) as pool:
            yield dataclasses.replace(self, source=source, pool=pool)

    def measure(
        self, allocations: Sequence[Allocation], *, label: str, seed: int | None = None
    ) -> list[Record]:
        """Measure allocations as short trials under one seed, the setting's own by default."""
        under = self.seed if seed is None else seed
        jobs = [Job(allocation, under, self.steps) for allocation in allocations]
        return self.pool.measure_all(jobs, label=label)

    def count_tokens(self, records: Iterable[Record]) -> int:
        """Return the tokens trained for these records and for the uniform trials that they are paired with.

        Each trial counts once, also where another method has measured it before.
        """
        return sum(record.tokens for record in self._complete(records))

    def count_seconds(self, records: Iterable[Record]) -> float:
        """Return the seconds of the same trials."""
        return sum(record.seconds for record in self._complete(records))

    def _complete(self, records: Iterable[Record]) -> list[Record]:
        distinct = {(record.values, record.seed, record.steps): record for record in records}
        for _, seed, steps in list(distinct):
            paired = self.pool.find(Job(self.space.reference(), seed, steps))
            if paired is not None:
                distinct[paired.values, seed, steps] = paired
        return list(distinct.values())


@contextlib.contextmanager
def prepare_setting(config: RunConfig, folder: Path, *, workers: int) -> Iterator[PreparedSetting]:
    """Prune a setting, measure it and tune its recipe, or read these from an earlier run.

    Args:
        config: The setting's run file.
        folder: Folder of all measurements; one writer at a time.
        workers: Trials measured side by side.

    Raises:
        InputError: If the folder holds another setting or is in use.
        StorageError: If the folder cannot be written.
    """
    compute = pick_compute(config)
    with open_run(folder, config) as opened:
        state = complete_preparation(opened, config, compute=compute)
        space = load_space(opened, config)
        source, tuned = tune_setting(opened, config, space, setting=config.name, compute=compute)
        with TrialPool(source, workers=workers) as pool:
            losses, digest = state["losses"], state["digests"]["model"]
            pruned_as = state["pruning"].get("settings", {})
            yield PreparedSetting(config, opened, source, pool, losses, digest, pruned_as, tuned["tokens"])
