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
        stop_below_noise: Whether to stop early when no candidate is expected to gain more than the noise.
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
class ChoiceDefaults:
    """How the recipe of a recovery is chosen; the fields are described at `recovery.choosing.halve_recipes`.

    Attributes:
        learning_rates: Rates tried, the usual one first.
        share: Cost at most, as a share of the recovery's.
        keep: Share of the candidates that goes on.
        least_steps: Steps of a training at least.
        rate_power: Power of the ratio of lengths by which the best rate rises in a shorter training:
            `docs/decisions/0045`.
    """

    learning_rates: tuple[float, ...] = (3e-3, 1e-3, 6e-3)
    share: float = 0.5
    keep: float = 0.5
    least_steps: int = 6
    rate_power: float = 0.25


@dataclass(frozen=True)
class MetaTrainingDefaults:
    """How a predictor is meta-trained; the fields are described at `predictor.meta_train`."""

    model: Literal["hierarchy"] = "hierarchy"
    algorithm: Literal["maml"] = "maml"
    inner_steps: int = 5
    inner_learning_rate: float = 0.02
    epochs: int = 200
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class CompressionDefaults:
    """How `compress` finds, recovers and checks a configuration.

    Attributes:
        types: Types of the engine that attention and MLPs may take; a type is left out where the width of a
            tensor is no multiple of its block.
        embedding: Types that the embedding, and the output head with it, may take.
        references: What the result is compared with; each rule costs a full recovery.
        stock: Stock types and mixtures of the engine that the result is compared with.
        importance: How channels and heads are ordered.
        importance_rows: Windows of calibration text for the importance, of `length` tokens.
        length: Tokens per sequence, of scores and of the fine-tune.
        search_sequences: Sequences that the search scores on.
        screen_sequences: Sequences that a candidate is scored on before the others.
        judge_sequences: Sequences of each judging text.
        evaluations: Configurations scored, sweep included.
        recovered_steps: Optimiser steps of the model that is scored; 0 scores the dense model.
        finalists: Configurations recovered shortly before one of them is chosen.
        finalist_steps: Optimiser steps of that.
        steps: Optimiser steps of the full recovery.
        rank: LoRA rank of the recovery, everywhere the same.
        learning_rates: Rates tried at the length of the short recovery.
        rank_evaluations: Rank allocations that a rank search measures.
        rank_seeds: Fresh seeds on which its best is compared with uniform ranks.
        sample: Text that the finished file continues, for people to look at.
        sample_tokens: Tokens that it continues it by, at most.
        sample_temperature: Of drawing them; that of llama.cpp's own program.
    """

    types: tuple[str, ...] = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
    embedding: tuple[str, ...] = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
    references: tuple[str, ...] = ("stock", "stock_recovered", "uniform", "taylor", "sequential")
    stock: tuple[str, ...] = ("Q8_0", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "Q4_K_M", "Q3_K_M", "Q2_K")
    importance: Literal["param_first"] = "param_first"
    importance_rows: int = 32
    length: int = 128
    search_sequences: int = 32
    screen_sequences: int = 8
    judge_sequences: int = 64
    evaluations: int = 160
    recovered_steps: int = 0
    finalists: int = 2
    finalist_steps: int = 16
    steps: int = 48
    rank: int = 16
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    rank_evaluations: int = 8
    rank_seeds: int = 5
    sample: str = "Once upon a time"
    sample_tokens: int = 48
    sample_temperature: float = 0.8


@dataclass(frozen=True)
class ElasticDefaults:
    """How a super-network is built, trained and searched; the fields are described at the run file."""

    levels: int = 8
    smallest: float = 0.5
    ranks: tuple[int, ...] = (24, 32)
    rank_slots: Literal["half_block"] = "half_block"
    type: Literal["Q8_0"] = "Q8_0"
    importance: Literal["param_first"] = "param_first"
    importance_rows: int = 32
    steps: int = 48
    rule: Literal["sandwich"] = "sandwich"
    dropped: float = 0.25
    methods: tuple[str, ...] = ("heuristic", "hill_climbing")
    evaluations: int = 60
    references: tuple[str, ...] = ("lora", "alone")


PRUNING = PruningDefaults()
SPACE = SpaceDefaults()
TRIAL = TrialDefaults()
SEARCH = SearchDefaults()
CONFIRMATION = ConfirmationDefaults()
RECOVERY = RecoveryDefaults()
CHOICE = ChoiceDefaults()
META_TRAINING = MetaTrainingDefaults()
COMPRESSION = CompressionDefaults()
ELASTIC = ElasticDefaults()
