"""The run file of an elastic job as one frozen object: a super-network, searched."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from rankadaptor.config.job import JobConfig, JobKind, NamedKind, StepInputs
from rankadaptor.config.limits import ParametersLimit
from rankadaptor.config.paths import PathKeys
from rankadaptor.config.sections import RECIPE, Importance, Section
from rankadaptor.config.stages import TrackSection
from rankadaptor.config.text_sections import TextComputeSection, TextDataSection
from rankadaptor.defaults import ELASTIC as DEFAULTS

SearchMethod = Literal["heuristic", "hill_climbing", "nsga2", "linas"]
"""`heuristic`: the middle option of every slot, nothing is measured. `hill_climbing`: trades between slots of
the best allocation measured. `nsga2`: the Pareto front of loss and cost. `linas`: that front as a predictor
sees it, measured in part and predicted again."""
ReferenceName = Literal["lora", "alone", "unmerged"]
"""`lora`: a fixed-rank adapter on the whole model. `alone`: the result's allocation trained by itself.
`unmerged`: a fixed-rank adapter beside the model in the type that the result is merged in."""


class ElasticChoicesSection(Section):
    """What may be chosen for each layer of the super-network."""

    width: bool = Field(default=True, description="MLP channels.")
    attention: bool = Field(default=False, description="KV groups with their query heads.")
    depth: bool = Field(default=False, description="Drop attention, MLP or both of a block.")
    dropped: float = Field(
        default=DEFAULTS.dropped,
        ge=0,
        le=1,
        description="With depth, the largest share of all attentions and MLPs that may be left out.",
    )
    levels: int = Field(
        default=DEFAULTS.levels, ge=1, description="Equal parts of an MLP that its widths are multiples of."
    )
    smallest: float = Field(
        default=DEFAULTS.smallest, gt=0, le=1, description="Smallest width, as a share of the whole one."
    )
    ranks: tuple[int, ...] = Field(
        default=DEFAULTS.ranks, min_length=1, description="Ranks of adapters that may be chosen."
    )
    rank_slots: Literal["block", "half_block", "linear"] = Field(
        default=cast("Any", DEFAULTS.rank_slots), description="Linears that share a rank."
    )
    type: str = Field(
        default=DEFAULTS.type, min_length=1, description="Type of all weights when the bytes of a file count."
    )
    sparsity: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the weights of every linear that is set to zero before training, by the "
        "importance of Wanda on the calibration text.",
    )
    importance: Importance = Field(
        default=cast("Any", DEFAULTS.importance),
        description="What orders channels and heads; the most important ones are kept.",
    )
    importance_rows: int = Field(
        default=DEFAULTS.importance_rows, ge=1, description="Sequences of calibration text for it."
    )


class ElasticTrainSection(Section):
    """The training of the super-network, and of the references with as many tokens."""

    steps: int = Field(default=DEFAULTS.steps, ge=1, description="Optimiser steps.")
    batch_size: int = Field(default=RECIPE.batch_size, ge=1, description="Sequences per optimiser step.")
    learning_rate: float = Field(default=RECIPE.learning_rate, gt=0, description="Peak rate.")
    rule: Literal["sandwich", "random", "alternating"] = Field(
        default=cast("Any", DEFAULTS.rule),
        description="Allocations that a step trains. sandwich: the largest, the smallest and two random "
        "ones. random: a random one. alternating: the largest and a random one in turn.",
    )
    distilled: bool = Field(
        default=True, description="In a sandwich, smaller allocations learn from the largest one."
    )
    balanced: bool = Field(
        default=True, description="Losses of all allocations of a step are scaled to one size."
    )
    reference_rates: tuple[float, ...] | None = Field(
        default=None,
        min_length=1,
        description="Peak rates that every reference is trained at, each on as many tokens; the one with the "
        "lowest loss on the search text is kept. null takes learning_rate alone.",
    )
    merge_as: str | None = Field(
        default=None,
        min_length=1,
        description="Train through the rounding of this type, for example Q4_0, and merge the adapter "
        "exactly; zeros of a sparse model stay zero. F16 only keeps the zeros. null trains the adapter "
        "beside the weights.",
    )


class ElasticSearchSection(Section):
    """How an allocation of the trained super-network is found."""

    methods: tuple[SearchMethod, ...] = Field(
        default=cast("Any", DEFAULTS.methods),
        min_length=1,
        description="heuristic: the middle of every slot. hill_climbing: trades between slots of the best "
        "one. nsga2: the Pareto front of loss and cost. linas: NSGA-II on a predictor of the loss, which "
        "learns from what is measured.",
    )
    evaluations: int = Field(
        default=DEFAULTS.evaluations, ge=1, description="Allocations that each method may measure."
    )
    parameters: ParametersLimit | None = Field(
        default=None,
        description="Parameters of the result: a share of the whole model's (80%) or a number (100M). null: "
        "as many as the heuristic has.",
    )


ELASTIC = JobKind(
    name="elastic",
    paths=PathKeys(read=("model", "data.text", "data.other"), written=("output", "track.uri")),
    irrelevant=("job", "name", "output", "track", "compute.threads"),
    steps={
        "prepare": StepInputs(("seed", "model", "compute", "data", "choices", "train", "search.parameters")),
        "train": StepInputs(after=("prepare",)),
        "search": StepInputs(("search",), after=("train",)),
        "references": StepInputs(("references",), after=("search",)),
        "judge": StepInputs(after=("references",)),
        "deliver": StepInputs(("file",), after=("judge",)),
    },
    fixed=("prepare", "train"),
    later={
        "choices.dropped": DEFAULTS.dropped,
        "train.merge_as": None,
        "train.reference_rates": None,
        "file": False,
    },
    places={
        "search": ("steps/search.json", "model", "adapter"),
        "references": ("steps/references.json", "references"),
        "judge": ("steps/judge.json",),
        "deliver": ("steps/deliver.json", "model.gguf"),
    },
)


class ElasticConfig(JobConfig, NamedKind):
    """One super-network: prepare, train, search, train references, judge, deliver.

    Build it with `load_job` or `build_elastic`: they list all faults in one `ConfigError`.
    """

    kind: ClassVar[JobKind] = ELASTIC

    job: Literal["elastic"] = Field(default="elastic", description="What kind of run this file describes.")
    compute: TextComputeSection = Field(default=TextComputeSection(), description="Where the run computes.")
    data: TextDataSection = Field(
        default=TextDataSection(), description="Text to train on, to search on and to judge on."
    )
    choices: ElasticChoicesSection = Field(
        default=ElasticChoicesSection(), description="What may be chosen for each layer."
    )
    train: ElasticTrainSection = Field(
        default=ElasticTrainSection(), description="The training of the super-network."
    )
    search: ElasticSearchSection = Field(
        default=ElasticSearchSection(), description="How an allocation is found."
    )
    references: tuple[ReferenceName, ...] = Field(
        default=cast("Any", DEFAULTS.references),
        description="What the result is compared with after training on as many tokens. lora: a fixed-rank "
        "adapter on the whole model. alone: the result's allocation, trained by itself. unmerged: a "
        "fixed-rank adapter beside the model rounded to train.merge_as.",
    )
    file: bool = Field(
        default=False,
        description="Write the result as a GGUF file, linears in train.merge_as and all else in "
        "choices.type, and measure its loss, and its speed beside that of the whole model in choices.type.",
    )
    track: TrackSection = Field(default=TrackSection(), description="MLflow; changes no result.")
