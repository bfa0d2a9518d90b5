"""Sections of a run file that describe its inputs: machine, pruning, data, space, recipe.

Only the pipeline uses configuration objects; all other functions take plain keyword arguments and need no run
file.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from rankadaptor.defaults import PRUNING, SPACE, TRIAL
from rankadaptor.recipe import PLAIN, Recipe

RECIPE = Recipe()
"""The default recipe."""

Importance = Literal[
    "param_first",
    "param_second",
    "param_mix",
    "vectorwise",
    "l1",
    "l2",
    "wanda",
    "flap",
    "random",
    "block_influence",
]
Aggregation = Literal["sum", "mean", "max", "prod", "first"]


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ComputeSection(Section):
    """Where the run computes."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes CUDA where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of the frozen weights; auto takes bfloat16 where the processor multiplies "
        "it natively.",
    )
    quantise: Literal["int8", "nf4"] | None = Field(
        default=None,
        description="Hold the frozen linears of the pruned model in 8 or 4 bits (needs bitsandbytes); "
        "pruning itself is done in dtype. null keeps dtype.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        description="CPU threads of one trial; with 1 a trial repeats to every printed digit.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="Trials measured in parallel, one process each; limited to one core for "
        "each of their threads. Changes no result.",
    )
    executor: Literal["local", "ray"] = Field(
        default="local",
        description="Where trials run: processes of this machine, or a Ray cluster (RAY_ADDRESS names it). "
        "Changes no result.",
    )
    gpus_per_trial: float | None = Field(
        default=None,
        ge=0,
        description="With ray, the share of a GPU that a trial takes; 0.25 lets four share one, 0 runs "
        "them on CPUs. null takes one if the device is CUDA.",
    )
    trial_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which a trial's worker counts as hung and is replaced; null derives a "
        "generous limit from finished trials. If given, a single worker is a separate process too.",
    )


class CalibrationSection(Section):
    """Text for estimating importance."""

    source: str = Field(
        default="kit:boolq-passages",
        min_length=1,
        description="kit:NAME, hub:NAME, or a .jsonl, .json, .txt, .csv or .parquet file, a folder or "
        "a pattern.",
    )
    examples: int = Field(default=PRUNING.examples, ge=1, description="Number of token pieces.")
    length: int = Field(default=PRUNING.length, ge=2, description="Tokens per piece.")


class PruneSection(Section):
    """How the model is pruned."""

    ratio: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the targets' parameters to cut in the blocks between skip_first and "
        "skip_last, above 0 and below 1.",
    )
    scope: Literal["local", "global"] = Field(
        default=PRUNING.scope,
        description="local cuts the same share from every block; global lets blocks compete. Whole blocks "
        "always compete.",
    )
    importance: Importance = Field(
        default=PRUNING.importance,
        description="Importance of one weight, estimated on the calibration text; block_influence is for "
        "targets: [blocks].",
    )
    aggregation: Aggregation = Field(
        default=PRUNING.aggregation,
        description="How the importances of a group of weights become one number.",
    )
    targets: tuple[Literal["heads", "channels", "blocks"], ...] = Field(
        default=PRUNING.targets,
        min_length=1,
        description="What is cut: attention heads, MLP channels, or both; or [blocks], whole decoder blocks.",
    )
    head_unit: Literal["kv_group", "query_head"] = Field(
        default=PRUNING.head_unit,
        description="kv_group cuts a key-value head together with the query heads that share it.",
    )
    skip_first: int = Field(
        default=PRUNING.skip_first, ge=0, description="Blocks at the input end that stay whole."
    )
    skip_last: int = Field(
        default=PRUNING.skip_last, ge=0, description="Blocks at the output end that stay whole."
    )
    align: int = Field(
        default=PRUNING.align,
        ge=1,
        description="Keep MLP widths at a multiple of this; odd widths are slow on most processors.",
    )
    calibration: CalibrationSection = Field(
        default=CalibrationSection(), description="Text for estimating importance."
    )


class DataSection(Section):
    """Training rows and held-out rows."""

    train: str = Field(
        default="kit:alpaca",
        min_length=1,
        description="kit:NAME, hub:NAME, or a .jsonl, .json, .txt, .csv or .parquet file, a folder or "
        "a pattern.",
    )
    held_out: str | None = Field(
        default=None,
        min_length=1,
        description="Source of the held-out rows; null splits them off the training source.",
    )
    train_rows: int | None = Field(default=4000, ge=1, description="Rows to train on; null takes all.")
    held_out_rows: int = Field(
        default=TRIAL.held_out_rows,
        ge=1,
        description="Rows on which the loss is measured; the same for every trial.",
    )


class SpaceSection(Section):
    """Which allocations the search may choose from. Give exactly one budget."""

    slots: Literal["block", "half_block", "linear"] = Field(
        default=SPACE.slots,
        description="Which linears share one rank: a block (the paper), its attention or MLP half, or none.",
    )
    ranks: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="The ranks to choose from, ascending, for example [0, 2, 4, 8, 16]; 0 leaves a "
        "linear without an adapter. null takes ranks from 0 to 64, limited by the linears' widths.",
    )
    like_uniform: int | None = Field(
        default=8,
        ge=1,
        description="Budget: the adapter parameters of this rank everywhere.",
    )
    parameters: int | None = Field(
        default=None,
        ge=1,
        description="Budget: adapter parameters, lowered to what the largest uniform rank within it takes. "
        "Set like_uniform: null.",
    )
    megabytes: float | None = Field(
        default=None,
        gt=0,
        description="Budget: adapter weights saved in 32-bit precision, 10^6 bytes, lowered likewise. Set "
        "like_uniform: null.",
    )
    mode: Literal["parameters", "rank_sum"] = Field(
        default=SPACE.mode, description="What the budget counts; rank_sum is for parity with the paper."
    )
    pinned: dict[int, int] | None = Field(
        default=None, description="Blocks whose rank is fixed, as {block: rank}, counted from 0."
    )
    blocks: tuple[int, int] | None = Field(
        default=None,
        description="First and last block that may carry an adapter, counted from 0; null takes all.",
    )


class TuneSection(Section):
    """Values that are tried on uniform before allocations are compared."""

    learning_rates: tuple[float, ...] = Field(
        default=(1e-3, 3e-3, 6e-3),
        min_length=1,
        description="Rates to try; the held-out loss of uniform decides. With another method than lora the "
        "default stands for the method's own rates.",
    )
    scaling_exponents: tuple[float, ...] | None = Field(
        default=None, min_length=1, description="Scaling exponents to try; null keeps the recipe's."
    )
    initialisations: tuple[Literal["random", "gradient"], ...] | None = Field(
        default=None,
        min_length=1,
        description="Initialisations to try, each at every rate; null keeps the recipe's.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimiser steps of each try; null takes search.steps. Runs much shorter "
        "than recover.steps choose too high a rate: take recover.steps if you can afford it.",
    )


class LossSection(Section):
    """What a fine-tune minimises; see `rankadaptor.recipe.Recipe`."""

    loss: Literal["plain", "distill", "mixed"] = Field(
        default=cast("Any", RECIPE.loss),
        description="plain: next-token loss. distill: KL divergence from the dense model, over the whole "
        "vocabulary. mixed: both.",
    )
    temperature: float = Field(
        default=RECIPE.temperature, gt=0, description="Temperature of both models in the KL divergence."
    )
    distill_weight: float = Field(
        default=RECIPE.distill_weight, gt=0, lt=1, description="Weight of the KL divergence in mixed."
    )
    hidden_weight: float = Field(
        default=RECIPE.hidden_weight,
        ge=0,
        description="Weight of an added cosine distance to the hidden states of the dense model, block by "
        "block; for models that lost blocks.",
    )

    @property
    def needs_teacher(self) -> bool:
        """Whether fine-tunes follow the dense model."""
        return self.loss != PLAIN or self.hidden_weight > 0


class RecipeSection(LossSection):
    """The fine-tuning recipe; the same for every allocation.

    It has the fields of `rankadaptor.recipe.Recipe` except the number of steps (`recover.steps`), the method
    (`recover.method`), the reference rank (that of uniform), and the sizes of methods that have no ranks.
    """

    learning_rate: float = Field(
        default=RECIPE.learning_rate,
        gt=0,
        description="Peak rate of AdamW; replaced by the best one if tune is given.",
    )
    scaling_exponent: float = Field(
        default=RECIPE.scaling_exponent,
        ge=0,
        le=1,
        description="Gamma in LoRA scale = c * rank^-gamma. With 0, a larger rank acts like a larger "
        "learning rate; 1 is the usual alpha/r.",
    )
    scale_at_reference: float = Field(
        default=RECIPE.scale_at_reference,
        gt=0,
        description="LoRA scale at the rank of uniform, where all exponents agree.",
    )
    batch_size: int = Field(default=RECIPE.batch_size, ge=1, description="Sequences per optimiser step.")
    micro_batch_size: int = Field(
        default=RECIPE.micro_batch_size,
        ge=1,
        description="Sequences per forward pass; batch_size is a multiple of it.",
    )
    sequence_length: int = Field(
        default=RECIPE.sequence_length, ge=2, description="Tokens per sequence at most."
    )
    warmup_share: float = Field(
        default=RECIPE.warmup_share, ge=0, lt=1, description="Share of the steps with a rising rate."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default=cast("Any", RECIPE.schedule), description="How the rate falls after the warm-up."
    )
    weight_decay: float = Field(
        default=RECIPE.weight_decay, ge=0, description="AdamW's decay on the adapter."
    )
    gradient_clip: float = Field(default=RECIPE.gradient_clip, gt=0, description="Largest gradient norm.")
    dropout: float = Field(default=RECIPE.dropout, ge=0, lt=1, description="LoRA dropout.")
    gradient_checkpointing: bool = Field(
        default=RECIPE.gradient_checkpointing,
        description="Recompute activations in the backward pass to save memory.",
    )
    initialisation: Literal["random", "gradient"] = Field(
        default=cast("Any", RECIPE.initialisation),
        description="Initialisation of A: random, or the leading directions of each linear's first "
        "gradient. B is zero.",
    )
    tune: TuneSection | None = Field(
        default=TuneSection(),
        description="Values that are tried on uniform before allocations are compared; null keeps the "
        "recipe unchanged.",
    )
