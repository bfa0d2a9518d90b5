"""An elastic adapter: trained once over random allocations, then evaluated by forward passes."""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rankadaptor.components.adapter import compute_first_digest, read_space
from rankadaptor.components.adapter.lora.attach import adapt_temporarily
from rankadaptor.components.adapter.lora.nested import attach_nested, cut_slice, find_widest
from rankadaptor.corpus import Record
from rankadaptor.corpus.record import LOSS, LOSS_REFERENCE, PARAMETERS, SECONDS, TOKENS
from rankadaptor.errors import CheckpointError, InputError, NonFiniteError
from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.model.identity import BaseIdentity, identify_base
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import find_commit
from rankadaptor.space import Space
from rankadaptor.training.checkpoint import STATE_FILE, read_record
from rankadaptor.training.loop import fine_tune
from rankadaptor.training.result import StepReport
from rankadaptor.training.start import load_start

if TYPE_CHECKING:
    from rankadaptor.corpus import RecordFile
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

SCHEMA = 1
WEIGHTS_FILE = "elastic.safetensors"
DESCRIPTION = "elastic.json"
PLAN_FILE = "plan.json"
CHECKPOINT_EVERY = 50  # steps
WHOLE_TEXT = 1.0  # fidelity of a slice that is evaluated on all held-out sequences


class ElasticAdapter:
    """One adapter at the largest ranks, whose leading rank-one terms are used for smaller ranks.

    Every optimiser step of its training uses another random allocation of the space [LoNAS]_ [Shears]_, with
    the LoRA scales that the recipe gives to its ranks. Afterwards `measure` returns the held-out loss of the
    slice of an allocation, paired with that of uniform, and `slice` returns the weights of an allocation,
    from which the final fine-tune can start:

        elastic = ElasticAdapter.train(ShortFineTune(pruned, tokenizer, data=rows), space, steps=200)
        result = Search(space, predictor).run(elastic.measure, evaluations=200)
        adapter = recover(pruned, tokenizer, result.best, data=rows, start=elastic.slice(result.best))

    The loss of a slice is not the loss of its allocation when trained alone: use it to order allocations, and
    confirm the winner by separate fine-tunes.

    Attributes:
        space: The space of its allocations.
        recipe: Recipe it was trained with.
        seed: Seed of initialisation, data order and the allocations drawn.
        steps: Optimiser steps.
        sandwich: Whether largest, uniform and random allocations took turns.
        tokens: Tokens trained on, padding not counted.
        seconds: Time spent training.
        weights: `<linear>.A` and `<linear>.B` at the largest ranks.
        records: File to which measured records are appended, or None.
    """

    def __init__(
        self,
        short: ShortFineTune,
        space: Space,
        weights: Mapping[str, torch.Tensor],
        *,
        recipe: Recipe,
        description: Mapping[str, Any],
        records: RecordFile | None = None,
    ) -> None:
        """Use `ElasticAdapter.train` or `ElasticAdapter.load`."""
        self.space, self.recipe, self.weights, self.records = space, recipe, dict(weights), records
        self.seed, self.steps = int(description["seed"]), int(description["steps"])
        self.sandwich = bool(description["sandwich"])
        self.tokens, self.seconds = int(description["tokens"]), float(description["seconds"])
        self._short = short
        self._uniform_loss: float | None = None

    @classmethod
    def train(
        cls,
        short: ShortFineTune,
        space: Space,
        *,
        steps: int | None = None,
        seed: int | None = None,
        sandwich: bool = False,
        checkpoint: str | Path | None = None,
        records: RecordFile | None = None,
    ) -> Self:
        """Train an elastic adapter on a short fine-tune's model and data, with its recipe.

        Args:
            short: Gives model, training and held-out sequences, recipe, compute and the setting's name.
            space: The space from which allocations are drawn, built from `short`'s model.
            steps: Optimiser steps; by default those of the recipe's full fine-tune.
            seed: Seed of initialisation, data order and allocations; `short`'s by default.
            sandwich: Alternate between the largest ranks, uniform and a random allocation, in place of a
                random one every step.
            checkpoint: Folder to resume from and to write to.
            records: File for the records of `measure`.

        Raises:
            InputError: If the space does not fit the model.
            CheckpointError: If `checkpoint` holds another training.
            TrainingError: If the loss is no longer finite.
        """
        recipe, seed = short.recipe, short.seed if seed is None else seed
        steps = recipe.steps if steps is None else steps
        plan = draw_plan(space, steps, seed=seed, sandwich=sandwich)
        done = _open_checkpoint(Path(checkpoint), space, sandwich=sandwich) if checkpoint is not None else 0
        with attach_nested(short.model, space, recipe, seed=seed) as nested:

            def advance(report: StepReport) -> None:
                if report.step < steps:
                    nested.choose(plan[report.step].tolist())

            nested.choose(plan[min(done, steps - 1)].tolist())
            result = fine_tune(
                nested.peft_model,
                short.sequences,
                recipe=recipe,
                steps=steps,
                seed=seed,
                compute=short.compute,
                checkpoint=checkpoint,
                checkpoint_every=CHECKPOINT_EVERY,
                on_step=advance,
                teacher=short.teacher,
            )
            weights = nested.read_weights()
        description = {
            "seed": seed,
            "steps": steps,
            "sandwich": sandwich,
            "tokens": result.tokens,
            "seconds": result.seconds,
        }
        logger.info("trained an elastic adapter in %d steps, %d tokens", steps, result.tokens)
        return cls(short, space, weights, recipe=recipe, description=description, records=records)

    def measure(self, allocation: Allocation) -> Record:
        """Evaluate the slice of an allocation, paired with that of uniform from the same elastic adapter.

        The record has the source `slice`, the `steps` and `seed` of the elastic adapter and 0 `tokens`. Its
        setting ends in `.elastic`, so that it is not confused with a fine-tune of the allocation.

        Raises:
            InputError: If the allocation belongs to another space.
            StorageError: If the record cannot be written.
        """
        self._check(allocation)
        known = self._find(allocation)
        if known is not None:
            return known
        uniform = self.space.reference()
        if self._uniform_loss is None and not allocation.is_reference:
            self._uniform_loss = self.measure(uniform).loss
        started = time.monotonic()
        with adapt_temporarily(self._short.model, allocation, self.recipe, seed=self.seed) as peft_model:
            load_start(peft_model, self.slice(allocation))
            scored, error = _measure(peft_model, self._short)
        loss = None if scored is None else scored.mean
        if allocation.is_reference:
            self._uniform_loss = loss
        if error is None and self._uniform_loss is None:
            error = "uniform, the reference of this record, has no loss"
        losses = {LOSS: loss, LOSS_REFERENCE: self._uniform_loss}
        record = Record(
            setting=self._setting,
            values=allocation.values,
            source="slice",
            seed=self.seed,
            steps=self.steps,
            fidelity=WHOLE_TEXT,
            metrics={name: value for name, value in losses.items() if value is not None},
            costs={
                PARAMETERS: sum(value.numel() for value in self.slice(allocation).values()),
                TOKENS: 0,
                SECONDS: time.monotonic() - started,
            },
            status="ok" if error is None else "failed",
            error=error,
            commit=find_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sequence_losses=scored.per_sequence if scored is not None and error is None else None,
        )
        if self.records is not None:
            self.records.append(record)
        return record

    def slice(self, allocation: Allocation, *, recipe: Recipe | None = None) -> dict[str, torch.Tensor]:
        """Return an allocation's adapter weights by PEFT's names, for `recover(..., start=...)`.

        Args:
            allocation: Ranks, none above the largest of the space.
            recipe: Recipe that the slice will be used with; if its LoRA scales differ from those of the
                elastic adapter, B is multiplied so that the slice has the same outputs.

        Raises:
            InputError: If the allocation belongs to another space.
        """
        self._check(allocation)
        return cut_slice(self.weights, allocation, trained=self.recipe, wanted=recipe or self.recipe)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and description (JSON).

        Raises:
            StorageError: If the folder cannot be written.
        """
        target = Path(folder)
        write_bytes(target / WEIGHTS_FILE, save(self.weights))
        description = {
            "schema": SCHEMA,
            "space": self.space.to_json(),
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "steps": self.steps,
            "sandwich": self.sandwich,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "sha256": compute_file_sha256(target / WEIGHTS_FILE),
            "base": identify_base(self._short.model).to_json(),
        }
        write_json(target / DESCRIPTION, description)

    @classmethod
    def load(cls, folder: str | Path, short: ShortFineTune, *, records: RecordFile | None = None) -> Self:
        """Read an elastic adapter written by `save`, for the model and data of `short`.

        Raises:
            InputError: If there is none.
            CheckpointError: If it is damaged, of another version, or was trained on other weights.
        """
        description, weights = _read(Path(folder))
        if (stored := description.get("base")) is not None:  # earlier versions did not write it
            trained, given = BaseIdentity(**stored), identify_base(short.model)
            if trained.differs_from(given):
                raise CheckpointError(
                    f"{folder}: this elastic adapter was trained on the weights {trained.digest}, but the "
                    f"model has {given.digest}. Give the model that it was trained on, or train one for this."
                )
        space, recipe = read_space(description["space"]), Recipe(**description["recipe"])
        return cls(short, space, weights, recipe=recipe, description=description, records=records)

    @property
    def _setting(self) -> str:
        name = f"{self._short.name_setting(self.space)}.elastic"
        return name if self._short.setting is not None else f"{name}-{self._digest}"

    @functools.cached_property
    def _digest(self) -> str:
        return hashlib.sha256(save(self.weights)).hexdigest()[:16]

    def _find(self, allocation: Allocation) -> Record | None:
        if self.records is None:
            return None
        key, setting = (allocation.values, self.seed, self.steps), self._setting
        found = self.records.find(*key, setting=setting, fidelity=WHOLE_TEXT)
        # Earlier versions wrote these records with the source of a fine-tune.
        return found or self.records.find(*key, setting=setting)

    def _check(self, allocation: Allocation) -> None:
        if allocation.space != self.space:
            raise InputError(
                f"the allocation belongs to space {allocation.space.digest}, the elastic adapter to "
                f"{self.space.digest}. Use an allocation of elastic.space."
            )


def read_slice(folder: Path, allocation: Allocation, *, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Return the slice of an allocation from a saved elastic adapter, without the model.

    Raises:
        InputError: If there is none.
        CheckpointError: If it is damaged or of another version.
    """
    description, weights = _read(folder)
    return cut_slice(weights, allocation, trained=Recipe(**description["recipe"]), wanted=recipe)


def draw_plan(space: Space, steps: int, *, seed: int, sandwich: bool = False) -> NDArray[np.int64]:
    """Draw the choices of every step, `(steps, n_slots)`; only the largest of `sandwich` exceed the limits.

    Raises:
        InputError: If `steps` is less than 1.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: must be at least 1.")
    plan = space.sample_choices(steps, seed)
    if sandwich:
        plan[0::3] = find_widest(space).choices
        plan[1::3] = space.origin
    return plan


def _measure(model: Any, short: ShortFineTune) -> tuple[HeldOutLoss | None, str | None]:
    """Return the held-out loss, or why there is none."""
    try:
        return measure_loss(model, short.held_out, compute=short.compute), None
    except NonFiniteError as failure:
        return None, str(failure)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    description: Any = read_json(folder / DESCRIPTION)
    wanted = {"schema", "space", "recipe", "seed", "steps", "sandwich", "tokens", "seconds", "sha256"}
    if not isinstance(description, dict) or not wanted <= description.keys():
        raise CheckpointError(
            f"{folder / DESCRIPTION}: must be an object of JSON with {', '.join(sorted(wanted))}. Delete the "
            "folder and train the elastic adapter again."
        )
    if description["schema"] != SCHEMA:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: schema {description['schema']}, this version reads {SCHEMA}. "
            "Train the elastic adapter again."
        )
    weights: dict[str, torch.Tensor] = {}
    try:
        intact = compute_file_sha256(folder / WEIGHTS_FILE) == description["sha256"]
        weights = load_file(folder / WEIGHTS_FILE) if intact else weights
    except (OSError, SafetensorError):
        intact = False
    if not intact:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE}: not what was written beside {DESCRIPTION}. Delete the folder and "
            "train the elastic adapter again."
        )
    return description, weights


def _open_checkpoint(folder: Path, space: Space, *, sandwich: bool) -> int:
    """Return the steps done in a checkpoint folder; a new folder is marked with this training's identity."""
    identity = {"space": compute_first_digest(space), "sandwich": sandwich}
    path = folder / PLAN_FILE
    if not path.exists():
        write_json(path, identity)
    elif (kept := read_json(path)) != identity:
        raise CheckpointError(
            f"{folder} holds an elastic adapter of other allocations ({kept}, now {identity}). Choose "
            "another checkpoint folder, or delete this one to start over."
        )
    state = folder / STATE_FILE
    return int(read_record(state)["step"]) if state.is_file() else 0
