"""Measuring an allocation: one short fine-tune, paired with uniform under the same seed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from rankadaptor.components.adapter import compute_first_digest, read_ranks
from rankadaptor.corpus import Record
from rankadaptor.data.rows import Source, load_rows
from rankadaptor.defaults import TRIAL
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss
from rankadaptor.files import compute_digest
from rankadaptor.model.identity import digest_model
from rankadaptor.model.quantisation import is_quantised
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.teachers import find_teacher
from rankadaptor.recovery.trial import train_trial
from rankadaptor.runtime import choose_compute, find_commit
from rankadaptor.training.checkpoint import digest_sequences
from rankadaptor.training.sources import load_pair

if TYPE_CHECKING:
    from rankadaptor.corpus import RecordFile
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation
    from rankadaptor.space.allocation import SlotSpace


class ShortFineTune:
    """Measure allocations by short fine-tunes of one pruned model.

    Calling it with an allocation trains an adapter of those ranks for a few steps, measures the held-out
    loss, takes the adapter off again and returns a record. Each record is paired: its
    `loss_uniform` is that of uniform, trained under the same seed and steps. A seed fixes the order of the
    data and the nested initialisation of the adapters, so the difference of the two losses is due to the
    ranks; on one thread it repeats exactly.

    Args:
        pruned: The pruned model. It is unchanged after every trial, also a failed one. The digest of its
            weights is computed once: do not change them while this object is in use.
        tokenizer: Its tokenizer.
        data: Training rows, a path, or a kit name.
        held_out: Rows to score on; by default `held_out_rows` rows of `data` are set aside for it. A
            training row that is also a held-out row is dropped.
        recipe: Rates, batches, scale; `recipe.steps` is the full fine-tune that a record's fidelity refers
            to.
        steps: Optimiser steps of a trial.
        seed: Seed of trials that are called without one; also decides which rows are set aside.
        held_out_rows: Number of rows set aside if `held_out` is not given; a given one is used whole.
        records: File that every record is written to, and from which a resumed run repeats nothing.
        setting: Name of the setting, written into the records. Without one, the name is a digest of the
            model's weights, the data, recipe, precision and space, so that records are never mixed up.
        compute: Device, precision and threads; chosen and logged by default.
        teacher: The model that the recipe's loss follows; see `rankadaptor.recover`.

    Attributes:
        setting: As given, or None.
        steps: As given.
        recipe: As given.
        sequences: Tokenised training data.
        held_out: Tokenised held-out data.
        teacher: The teacher as a model, or None.

    Raises:
        InputError: If there are too few rows for a batch and the held-out set.
    """

    def __init__(
        self,
        pruned: Any,
        tokenizer: Any,
        *,
        data: Source,
        held_out: Source | None = None,
        recipe: Recipe | None = None,
        steps: int = TRIAL.steps,
        seed: int = 0,
        held_out_rows: int = TRIAL.held_out_rows,
        records: RecordFile | None = None,
        setting: str | None = None,
        compute: Compute | None = None,
        teacher: Any = None,
    ) -> None:
        recipe = recipe if recipe is not None else Recipe()
        compute = compute if compute is not None else choose_compute()
        if held_out_rows < 1:
            raise InputError(f"held_out_rows={held_out_rows}: must be at least 1.")
        if held_out is None:
            # One seeded shuffle gives the same split for every trial of this object.
            rows = load_rows(data)  # once, since an iterator cannot be read again
            held_out = load_rows(rows, limit=held_out_rows, seed=seed)
            data = load_rows(rows, skip=held_out_rows, seed=seed)
        sequences, scored = load_pair(
            data, held_out, tokenizer, max_length=recipe.sequence_length, model=pruned
        )
        guide = find_teacher(teacher, tokenizer, compute=compute)
        self._set(pruned, sequences, scored, recipe, steps, seed, records, setting, compute, guide)

    @classmethod
    def of_sequences(
        cls,
        pruned: Any,
        sequences: Sequence[TokenSequence],
        *,
        held_out: Sequence[TokenSequence],
        recipe: Recipe,
        steps: int,
        seed: int = 0,
        records: RecordFile | None = None,
        compute: Compute | None = None,
        teacher: Any = None,
    ) -> Self:
        """Measure on data that is tokenised already.

        Args:
            pruned: As of the class, and likewise all others.
            sequences: Training data.
            held_out: Sequences to score on; none of them may be among the training data.
            recipe: Rates, batches, scale.
            steps: Optimiser steps of a trial.
            seed: Seed of trials that are called without one.
            records: File that every record is written to.
            compute: Device, precision and threads.
            teacher: The model that the recipe's loss follows.

        Raises:
            InputError: If there are fewer sequences than a batch holds, or none to score on.
        """
        measure = cls.__new__(cls)
        data = (list(sequences), list(held_out))
        measure._set(pruned, *data, recipe, steps, seed, records, None, compute, teacher)
        return measure

    def _set(
        self,
        pruned: Any,
        sequences: list[TokenSequence],
        held_out: list[TokenSequence],
        recipe: Recipe,
        steps: int,
        seed: int,
        records: RecordFile | None,
        setting: str | None,
        compute: Compute | None,
        teacher: Any,
    ) -> None:
        self.model, self.recipe, self.steps, self.seed = pruned, recipe, steps, seed
        self.setting, self.records = setting, records
        self.compute = compute if compute is not None else choose_compute()
        self.sequences, self.held_out, self.teacher = sequences, held_out, teacher
        if len(self.sequences) < self.recipe.batch_size or not self.held_out:
            raise InputError(
                f"The data make {len(self.sequences)} training and {len(self.held_out)} held-out sequences; "
                f"needed are a batch of {self.recipe.batch_size} and one held-out sequence. "
                "Give more rows, or lower held_out_rows or the recipe's batch_size."
            )
        self._uniform: dict[tuple[str, int, int], Record] = {}

    def __call__(
        self, allocation: Allocation, *, seed: int | None = None, steps: int | None = None
    ) -> Record:
        """Measure one allocation.

        Args:
            allocation: The allocation to train.
            seed: Initialisation and data order; the object's seed by default.
            steps: Optimiser steps; the object's by default.

        Returns:
            A record. If the fine-tune, or uniform's, diverged, its status is `failed` and its loss None.

        Raises:
            InputError: If the allocation does not fit the model.
            StorageError: If the record cannot be written.
        """
        seed = seed if seed is not None else self.seed
        steps = steps if steps is not None else self.steps
        if (known := self._find(allocation, seed=seed, steps=steps)) is not None:
            return known
        uniform = self._measure_uniform(allocation, seed=seed, steps=steps)
        if allocation.values == uniform.values:
            return uniform
        return self._keep(self.run_trial(allocation, seed=seed, steps=steps, loss_uniform=uniform.loss))

    def run_trial(
        self, allocation: Allocation, *, seed: int, steps: int, loss_uniform: float | None
    ) -> Record:
        """Measure one allocation with a known loss of uniform, and write nothing.

        Args:
            allocation: The allocation to train.
            seed: Initialisation and data order.
            steps: Optimiser steps.
            loss_uniform: Uniform's loss under this seed and these steps; not read if `allocation` is uniform.
                None means that uniform failed: this record then fails too, without training.
        """
        if loss_uniform is None and not allocation.is_reference:
            reason = "uniform, which this record is paired with, has no loss under this seed"
            return self._describe(allocation, seed=seed, steps=steps, error=reason)
        done = train_trial(
            self.model,
            allocation,
            self.recipe,
            sequences=self.sequences,
            held_out=self.held_out,
            steps=steps,
            seed=seed,
            compute=self.compute,
            teacher=self.teacher,
        )
        held_out = HeldOutLoss.of_sums(done.sums, done.counts) if done.error is None else None
        if allocation.is_reference:
            loss_uniform = held_out.mean if held_out is not None else None
        return self._describe(
            allocation,
            seed=seed,
            steps=steps,
            held_out=held_out,
            loss_uniform=loss_uniform,
            tokens=done.tokens,
            seconds=done.seconds,
            error=done.error,
        )

    def measure_pruned(self) -> HeldOutLoss:
        """Measure the pruned model's held-out loss before any recovery."""
        return measure_loss(self.model, self.held_out, compute=self.compute)

    def name_setting(self, space: SlotSpace) -> str:
        """Return the setting's name in records of this space."""
        if self.setting is not None:
            return self.setting
        parts = {
            "model": [self.model.config.model_type, self._model_digest],
            "data": self._data_digest,
            "recipe": self.recipe.to_json(),
            "dtype": self.compute.dtype,
            "quantised": is_quantised(self.model),
            "space": compute_first_digest(space),
        }
        if self.teacher is not None:
            parts["teacher"] = self._teacher_digest
        return f"unnamed-{compute_digest(parts)}"

    @functools.cached_property
    def _model_digest(self) -> str:
        return digest_model(self.model)

    @functools.cached_property
    def _teacher_digest(self) -> str:
        return digest_model(self.teacher)

    @functools.cached_property
    def _data_digest(self) -> list[str]:
        return [digest_sequences(self.sequences), digest_sequences(self.held_out)]

    def _measure_uniform(self, allocation: Allocation, *, seed: int, steps: int) -> Record:
        key = (allocation.space.digest, seed, steps)
        if key not in self._uniform:
            uniform = allocation.space.reference()
            known = self._find(uniform, seed=seed, steps=steps)
            if known is None:
                known = self._keep(self.run_trial(uniform, seed=seed, steps=steps, loss_uniform=None))
            self._uniform[key] = known
        return self._uniform[key]

    def _describe(
        self,
        allocation: Allocation,
        *,
        seed: int,
        steps: int,
        held_out: HeldOutLoss | None = None,
        loss_uniform: float | None = None,
        tokens: int = 0,
        seconds: float = 0.0,
        error: str | None = None,
    ) -> Record:
        return Record.of_fine_tune(
            setting=self.name_setting(allocation.space),
            values=allocation.values,
            seed=seed,
            steps=steps,
            fidelity=steps / self.recipe.steps,
            loss=held_out.mean if held_out else None,
            loss_reference=loss_uniform,
            parameters=self._count_parameters(allocation),
            tokens=tokens,
            seconds=seconds,
            status="ok" if error is None else "failed",
            error=error,
            commit=find_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sequence_losses=held_out.per_sequence if held_out else None,
        )

    def _count_parameters(self, allocation: Allocation) -> int:
        linears = dict(self.model.named_modules())
        return sum(
            rank * (linears[name].in_features + linears[name].out_features)
            for name, rank in read_ranks(allocation).items()
        )

    def _find(self, allocation: Allocation, *, seed: int, steps: int) -> Record | None:
        if self.records is None:
            return None
        setting = self.name_setting(allocation.space)
        return self.records.find(allocation.values, seed, steps, setting=setting)

    def _keep(self, record: Record) -> Record:
        if self.records is not None:
            self.records.append(record)
        return record
