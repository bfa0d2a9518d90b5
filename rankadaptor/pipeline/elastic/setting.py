"""What every step of an elastic job works with: the model, its text, its space."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from rankadaptor.components.adapter import ADAPTER_PARAMETERS
from rankadaptor.components.composition.costs import PARAMETERS
from rankadaptor.components.composition.limits import read_bound
from rankadaptor.components.precision.rounding import keeps_zeros
from rankadaptor.components.sparsity import apply_masks, choose_masks
from rankadaptor.config import ElasticConfig
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.model.families import describe_linears
from rankadaptor.model.identity import forget_origin
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.text_jobs.setting import TextSetting, pick_compute
from rankadaptor.recipe import Recipe
from rankadaptor.space import Allocation, Limit, Space
from rankadaptor.supernet import MIDDLE, build_elastic_space, find_smallest
from rankadaptor.supernet.elastic_space import LEFT_OUT
from rankadaptor.supernet.plan import RANDOM_SLICES, SANDWICH, count_left_out


class ElasticSetting(TextSetting[ElasticConfig]):
    """The inputs of an elastic job."""

    @classmethod
    def of_run(cls, folder: RunFolder, config: ElasticConfig) -> ElasticSetting:
        """Return the inputs of a run."""
        return cls(folder, config, pick_compute(config))

    @functools.cached_property
    def model(self) -> Any:
        """The model that is trained: as it was given, or sparse."""
        model, share = self._loaded[0], self.config.choices.sparsity
        if share:
            apply_masks(model, choose_masks(model, share, sequences=self.make_calibration()))
            forget_origin(model)
        return model

    @property
    def training_windows(self) -> int:
        """Windows of text for the training: no reference reads one twice."""
        return self.reference_steps * self.config.train.batch_size

    @functools.cached_property
    def space(self) -> Space:
        """All allocations, without limits: those that training draws from."""
        given = self.config.choices
        return build_elastic_space(
            self.model,
            ranks=given.ranks,
            rank_slots=given.rank_slots,
            width=given.width,
            attention=given.attention,
            depth=given.depth,
            levels=given.levels,
            smallest=given.smallest,
            kind=self.config.train.merge_as or given.type,
            embedding=given.type,
        )

    @functools.cached_property
    def types(self) -> dict[str, str]:
        """The type of every linear that training goes through and the result is merged in; may be empty.

        Raises:
            InputError: If the model is sparse and the type cannot keep its zeros.
        """
        kind = self.config.train.merge_as
        if kind is None:
            return {}
        if self.config.choices.sparsity and not keeps_zeros(kind):
            raise InputError(
                f"train.merge_as: {kind} has no level at zero, so the zeros of a sparse model would be lost. "
                "Give Q8_0, Q5_0, Q4_0 or F16, or set choices.sparsity to 0."
            )
        return {linear.name: kind for linear in describe_linears(self._loaded[0])}

    @functools.cached_property
    def limited(self) -> Space:
        """The allocations that the search may choose: those of the limit's size at most.

        Raises:
            BudgetError: If none is as small; the message names the nearest limit that is possible.
        """
        resource, whole = self.resource, self.space.reference()
        given = self.config.search.parameters
        bound = (
            self.space.reference(MIDDLE).cost(resource)
            if given is None
            else read_bound(given, resource, dense=whole.cost(resource))
        )
        least = find_smallest(self.space).cost(resource)
        if bound < least and not self.config.choices.depth:
            raise BudgetError(
                f"search.parameters: {given} ({bound:,}) is below {least:,}, the smallest allocation "
                f"({least / whole.cost(resource):.1%}). Give more, or lower choices.smallest."
            )
        limits = [Limit(resource, bound)]
        if self.config.choices.depth:
            limits.append(Limit(LEFT_OUT, count_left_out(self.space, self.config.choices.dropped)))
        return dataclasses.replace(self.space, limits=tuple(limits))

    @property
    def resource(self) -> str:
        """What the limit of the search counts: parameters, or those of the adapter where only ranks vary."""
        given = self.config.choices
        return PARAMETERS if given.width or given.attention or given.depth else ADAPTER_PARAMETERS

    @property
    def heuristic(self) -> Allocation:
        """The middle option of every slot, brought inside the limit."""
        middle = self.limited.reference(MIDDLE).choices
        fill = len(self.limited.limits) > 1  # a row that cannot keep both is replaced by a small one
        rows = self.limited.repair_choices([middle], seed=self.config.seed, fill=fill)
        return self.limited.from_choices(rows[0].tolist())

    @property
    def reference_rates(self) -> tuple[float, ...]:
        """The rates that references are trained at."""
        train = self.config.train
        return train.reference_rates or (train.learning_rate,)

    @property
    def recipe(self) -> Recipe:
        """How the super-network is trained, and the references but for the rate."""
        given = self.config.train
        return Recipe(
            learning_rate=given.learning_rate,
            reference_rank=max(self.config.choices.ranks),
            batch_size=given.batch_size,
            micro_batch_size=given.batch_size,
            sequence_length=self.config.data.length,
            steps=given.steps,
        )

    @property
    def reference_steps(self) -> int:
        """Optimiser steps of a reference: those of as many tokens as the super-network was trained on."""
        return self.config.train.steps * count_slices(self.config)


def count_slices(config: ElasticConfig) -> int:
    """Return the allocations that an optimiser step trains."""
    return 2 + RANDOM_SLICES if config.train.rule == SANDWICH else 1
