"""Default values that the run file and the Python API share; those of the recipe stand in `recipe.Recipe`.

Each value is written here once: the sections of the run file and the signatures of the functions read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PruningDefaults:
    """How a model is pruned; the fields are described at `pruning.prune`."""

    importance: Literal["param_first"] = "param_first"
    aggregation: Literal["sum"] = "sum"
    scope: Literal["local"] = "local"
    targets: tuple[Literal["heads"], Literal["channels"]] = ("heads", "channels")
    head_unit: Literal["kv_group"] = "kv_group"
    skip_first: int = 0
    skip_last: int = 0
    align: int = 8
    examples: int = 10
    length: int = 64


@dataclass(frozen=True)
class SpaceDefaults:
    """Which allocations there are; the fields are described at `RankSpace.from_model`."""

    slots: Literal["half_block"] = "half_block"
    mode: Literal["parameters"] = "parameters"


@dataclass(frozen=True)
class TrialDefaults:
    """How an allocation is measured.

    Attributes:
        steps: Optimiser steps of a short fine-tune.
        held_out_rows: Rows split off the training data, on which the loss is measured.
    """

    steps: int = 24
    held_out_rows: int = 64


@dataclass(frozen=True)
class SearchDefaults:
    """How allocations are proposed.

    Attributes:
        proposal: How the next allocation is chosen, one of `search.PROPOSALS`.
        mean_until: Usable records before which a search with a trained predictor maximises the predicted
            mean. Twelve is what was measured: `docs/decisions/0020`.
        evaluations: Allocations to measure.
        batch: Allocations proposed at a time.
        candidates: Allocations that the predictor ranks before each proposal.
        stop_below_noise: Whether to stop early where nothing promises more than the noise.
        keep: Share of the allocations that goes on to the next rung of successive halving.
        examples: Training sequences that a score without training looks at.
    """

    proposal: Literal["expected_improvement"] = "expected_improvement"
    mean_until: int = 12
    evaluations: int = 10
    batch: int = 1
    candidates: int = 5000
    stop_below_noise: bool = False
    keep: float = 1 / 3
    examples: int = 32


@dataclass(frozen=True)
class ConfirmationDefaults:
    """How the search's best is compared with uniform.

    Attributes:
        seeds: Fresh seeds.
        first_seed: The first of them, as far above the seed of the search.
        confidence: Coverage of the verdict's interval.
    """

    seeds: int = 5
    first_seed: int = 1000
    confidence: float = 0.95


@dataclass(frozen=True)
class RecoveryDefaults:
    """What a full fine-tune measures on its way; its length is that of the recipe.

    Attributes:
        evaluations: Measurements of the held-out loss, evenly spread.
        patience: Measurements without a new lowest loss before it stops; None never stops early.
    """

    evaluations: int = 5
    patience: int | None = None

    def space_evaluations(self, steps: int) -> int:
        """Return the optimiser steps between two measurements."""
        return max(steps // self.evaluations, 1)


@dataclass(frozen=True)
class MetaTrainingDefaults:
    """How a predictor is meta-trained; the fields are described at `predictor.meta_train`."""

    model: Literal["hierarchy"] = "hierarchy"
    algorithm: Literal["maml"] = "maml"
    inner_steps: int = 5
    inner_learning_rate: float = 0.02
    epochs: int = 200
    learning_rate: float = 1e-3


PRUNING = PruningDefaults()
SPACE = SpaceDefaults()
TRIAL = TrialDefaults()
SEARCH = SearchDefaults()
CONFIRMATION = ConfirmationDefaults()
RECOVERY = RecoveryDefaults()
META_TRAINING = MetaTrainingDefaults()
