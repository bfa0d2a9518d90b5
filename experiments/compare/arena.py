"""One setting made ready: pruned, its recipe tuned, its trials at hand; every method starts from the same."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import widen_space
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.pipeline.preparation import complete_preparation, load_space, pick_compute
from rankadaptor.pipeline.run_folder import RunFolder, open_run
from rankadaptor.pipeline.trials import Job, TrialPool, TrialSource
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.recipe import Recipe
from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arena:
    """A setting in which methods are compared.

    Attributes:
        config: The setting's run file.
        folder: Where everything measured is kept.
        source: What trials are made from, with the tuned recipe.
        pool: Measures trials; methods that ask for the same trial share it.
        losses: Held-out loss of the pruned and, if it was pruned here, the dense model, nats per token.
        model_digest: Of the pruned model, in the precision it was pruned in.
        pruned_as: What it was pruned with; the digest of one model differs between precisions.
        tuning_tokens: Tokens trained to tune the recipe that all methods share.
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
    def widen(self) -> Iterator[Arena]:
        """Open the same setting with LoRA scales among the choices; its trials are kept beside the others."""
        source = dataclasses.replace(
            self.source,
            space=widen_space(self.space),
            records=self.folder.path / "widened" / "records.jsonl",
        )
        with TrialPool(source, workers=self.pool.workers) as pool:
            yield dataclasses.replace(self, source=source, pool=pool)

    @contextlib.contextmanager
    def change(self, recipe: Recipe) -> Iterator[Arena]:
        """Open the same setting under another rate or start; its trials have a file of their own."""
        if recipe == self.source.recipe:
            yield self
            return
        start = (
            "" if recipe.initialisation == self.source.recipe.initialisation else f"-{recipe.initialisation}"
        )
        records = self.folder.path / f"records-rate-{recipe.learning_rate:.4g}{start}.jsonl"
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

        Each trial counts once, as if the method stood alone; that methods share trials saves time only.
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
def open_arena(config: RunConfig, folder: Path, *, workers: int) -> Iterator[Arena]:
    """Prune, measure and tune a setting, or read what an earlier run left, and open its trials.

    Args:
        config: The setting's run file.
        folder: Where everything is kept; one writer at a time.
        workers: Trials measured side by side.

    Raises:
        InputError: If the folder holds another setting or is in use.
        StorageError: If the folder cannot be written.
    """
    compute = pick_compute(config)
    with open_run(folder, config) as opened:
        prepared = complete_preparation(opened, config, compute=compute)
        space = load_space(opened, config)
        source, tuned = tune_setting(opened, config, space, setting=config.name, compute=compute)
        with TrialPool(source, workers=workers) as pool:
            losses, digest = prepared["losses"], prepared["digests"]["model"]
            pruned_as = prepared["pruning"].get("settings", {})
            yield Arena(config, opened, source, pool, losses, digest, pruned_as, tuned["tokens"])
