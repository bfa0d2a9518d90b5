"""The run file of `rankadaptor compress` as one frozen object."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from rankadaptor.config.job import JobConfig, JobKind, NamedKind, StepInputs
from rankadaptor.config.limits import LatencyLimit, ParametersLimit, SizeLimit
from rankadaptor.config.paths import PathKeys
from rankadaptor.config.sections import RECIPE, Importance, LossSection, Section
from rankadaptor.config.stages import ChoiceAxes, TrackSection
from rankadaptor.config.text_sections import TextComputeSection, TextDataSection
from rankadaptor.defaults import CHOICE
from rankadaptor.defaults import COMPRESSION as DEFAULTS
from rankadaptor.methods import DERIVED, FIXED, LORA, THROUGH_ROUNDING, MethodName, Scales, find_method
from rankadaptor.recipe import LATER as RECIPE_LATER

ReferenceName = Literal[
    "stock",
    "stock_importance",
    "stock_recovered",
    "uniform",
    "taylor",
    "flap",
    "block_influence",
    "sequential",
    "optimum",
]
"""What the result is compared with: stock types of the dense model as they are, with importance weights, and
after the same recovery; simple rules that choose widths, each with its best single type; the best widths with
one type everywhere and then the best types for them; the optimum of the sweep without refinement."""
STOCK_REFERENCES = ("stock", "stock_importance", "stock_recovered")
"""Those that are files of the dense model; they do not depend on what a search finds."""


class LimitsSection(Section):
    """What the result may cost; at least one."""

    size: SizeLimit | None = Field(
        default=None, description="Bytes of the GGUF file, all included: 60MB (10^6 bytes), 57MiB."
    )
    latency: LatencyLimit | None = Field(
        default=None,
        description="Time per token on the engine relative to the dense model, prompt and generation alike: "
        "0.7x.",
    )
    parameters: ParametersLimit | None = Field(
        default=None, description="Parameters: a share of the dense model's (80%) or a number (100M)."
    )

    def describe(self) -> str:
        """Return the limits in words, for example `60MB, latency 0.7x`."""
        parts = [self.size or "", f"latency {self.latency}" if self.latency else ""]
        parts.append(f"parameters {self.parameters}" if self.parameters else "")
        return ", ".join(part for part in parts if part)


class ChoicesSection(Section):
    """What may be chosen for each layer."""

    width: bool = Field(default=True, description="MLP channels.")
    attention: bool = Field(default=True, description="KV groups with their query heads.")
    depth: bool = Field(default=True, description="Drop attention, MLP or both of a block.")
    types: tuple[str, ...] = Field(
        default=DEFAULTS.types,
        min_length=1,
        description="Types of the engine for attention and MLPs; one that does not fit a tensor's width is "
        "left out there.",
    )
    embedding: tuple[str, ...] = Field(
        default=DEFAULTS.embedding,
        min_length=1,
        description="Types for the embedding and the output head.",
    )
    importance: Importance = Field(
        default=cast("Any", DEFAULTS.importance),
        description="What orders channels and heads; the most important ones are kept.",
    )
    importance_rows: int = Field(
        default=DEFAULTS.importance_rows, ge=1, description="Sequences of calibration text for it."
    )


class CompressSearchSection(Section):
    """How configurations are scored and found."""

    evaluations: int = Field(
        default=DEFAULTS.evaluations, ge=1, description="Configurations scored, the sweep included."
    )
    screen_sequences: int = Field(
        default=DEFAULTS.screen_sequences,
        ge=1,
        description="Sequences that a candidate is scored on first; only the better ones see all.",
    )
    finalists: int = Field(
        default=DEFAULTS.finalists,
        ge=1,
        description="Configurations that are recovered shortly before one is chosen.",
    )
    recovered_steps: int = Field(
        default=DEFAULTS.recovered_steps,
        ge=0,
        description="Optimiser steps that the dense model is recovered for before configurations of it are "
        "scored; scores then tell more of what a recovery leaves. 0 scores the dense model itself.",
    )
    records: str | None = Field(
        default=None,
        min_length=1,
        description="File of scores that runs with other limits share: a configuration of the same model, "
        "text and choices is scored once. null keeps the scores in the run's folder.",
    )


class CompressRecoverSection(LossSection, ChoiceAxes):
    """The fine-tune that wins quality back; what it trains is merged before quantisation."""

    method: MethodName = Field(
        default=LORA,
        description="What is trained: lora, rslora, dora, adalora, ia3, full, full_frozen_embeddings. "
        "`rankadaptor methods` describes them.",
    )
    steps: int = Field(default=DEFAULTS.steps, ge=1, description="Optimiser steps of the full recovery.")
    finalist_steps: int = Field(
        default=DEFAULTS.finalist_steps, ge=1, description="Optimiser steps of a finalist's recovery."
    )
    rank: int = Field(default=DEFAULTS.rank, ge=1, description="Rank of every linear, of methods with ranks.")
    learning_rates: tuple[float, ...] = Field(
        default=DEFAULTS.learning_rates,
        min_length=1,
        description="Rates tried for the full recovery, on the first finalist, by successive halving. With "
        "another method than lora the default stands for the method's own rates.",
    )
    choose_share: float = Field(
        default=CHOICE.share,
        gt=0,
        le=1,
        description="Cost of trying rates, schedules and losses at most, as a share of the full recovery.",
    )
    batch_size: int = Field(default=RECIPE.batch_size, ge=1, description="Sequences per optimiser step.")
    quantisation_aware: bool | Literal["derived"] | None = Field(
        default=None,
        description="Train the adapter through the rounding of the file's types, so that it makes up for "
        "it; true keeps the scales of the weights that a recovery starts from, derived follows the trained "
        "weights. Every stock type of the dense model then has a recovery of its own. null does as true "
        "where the method allows it.",
    )
    ranks: Literal["uniform", "searched"] = Field(
        default="uniform",
        description="searched looks for better ranks of the same size by fine-tunes of finalist_steps, and "
        "uses them if fresh seeds confirm that they are better. It costs time and seldom gains anything.",
    )
    rank_evaluations: int = Field(
        default=DEFAULTS.rank_evaluations, ge=1, description="Rank allocations that the rank search measures."
    )
    rank_seeds: int = Field(
        default=DEFAULTS.rank_seeds,
        ge=2,
        description="Fresh seeds on which its best is compared with uniform ranks.",
    )

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """The learning rates to try: those given, or the method's own."""
        own = self.method != LORA and self.learning_rates == DEFAULTS.learning_rates
        return find_method(self.method).learning_rates if own else self.learning_rates

    @property
    def goes_through_rounding(self) -> bool:
        """Whether recoveries are trained through the rounding of types."""
        if self.quantisation_aware is None:
            return self.method in THROUGH_ROUNDING
        return bool(self.quantisation_aware)

    @property
    def scales(self) -> Scales:
        """The scales of a recovery through the rounding of types."""
        return DERIVED if self.quantisation_aware == DERIVED else FIXED

    @property
    def may_need_teacher(self) -> bool:
        """Whether a recovery may follow the dense model."""
        return self.needs_teacher or self.follows_teacher

    def list_grid(self) -> dict[str, tuple[Any, ...]]:
        """Return fields of the recipe and the values to try."""
        return self.list_axes(self.tried_rates)


class CompressExportSection(Section):
    """The file, and what is measured of it on the engine."""

    engine: bool = Field(
        default=True,
        description="Load the file in llama.cpp: compare tokens and loss, measure tokens per second. Needs "
        "the extra deploy.",
    )
    check_tokens: int = Field(default=24, ge=1, description="Tokens generated for the comparison.")
    prompt: int = Field(default=512, ge=8, description="Tokens of the prompt whose speed is measured.")
    generated: int = Field(default=48, ge=1, description="Tokens generated whose speed is measured.")
    sample: str | None = Field(
        default=DEFAULTS.sample,
        min_length=1,
        description="Text that the file continues at the end, to be read; null leaves it out.",
    )


SCORED_RECIPE = {*LossSection.model_fields, "method", "rank", "batch_size"}
"""Keys of `recover` that the recovery of the model that is scored depends on, beside its rate."""

COMPRESS = JobKind(
    name="compress",
    paths=PathKeys(
        read=("model", "data.text", "data.other"), written=("output", "track.uri", "search.records")
    ),
    irrelevant=("job", "name", "output", "track", "compute.threads", "search.records"),
    later={
        **{f"recover.{key}": RECIPE_LATER[key] for key in (*LossSection.model_fields, "method")},
        "recover.quantisation_aware": False,
        "search.recovered_steps": 0,
        "recover.schedules": None,
        "recover.losses": None,
        "recover.choose_share": CHOICE.share,
    },
    steps={
        "prepare": StepInputs(
            ("seed", "model", "compute", "data", "choices.importance", "choices.importance_rows")
        ),
        "speed": StepInputs(("export.prompt", "export.generated"), after=("prepare",)),
        "scored_model": StepInputs(("search.recovered_steps", "scored_model.recipe"), after=("prepare",)),
        "sweep": StepInputs(
            (
                "choices",
                "limits",
                "search.evaluations",
                "search.recovered_steps",
                "scored_model.recipe",
            ),
            after=("prepare",),
        ),
        "search": StepInputs(("search.screen_sequences",), after=("sweep",)),
        "baselines": StepInputs(("references.rules",), after=("search",)),
        "finalist_files": StepInputs(("recover",), after=("search",)),
        "finalists": StepInputs(("search.finalists", "recover"), after=("baselines",)),
        "ranks": StepInputs(after=("finalists",)),
        "recover": StepInputs(after=("finalists",)),
        "export": StepInputs(("export",), after=("recover",)),
        "stock_files": StepInputs(("export",), after=("prepare",)),
        "stock": StepInputs(
            ("references.stock", "references.stock_importance", "stock_types"), after=("stock_files",)
        ),
        "stock_recovered_files": StepInputs(("recover", "export"), after=("prepare",)),
        "stock_recovered": StepInputs(
            ("references.stock_recovered", "stock_types", "limits"),
            after=("stock_recovered_files", "finalists"),
        ),
        "reference_files": StepInputs(("recover", "export"), after=("search",)),
        "references": StepInputs(after=("reference_files", "finalists")),
        "recoveries": StepInputs(after=("recover", "stock", "stock_recovered", "references")),
        "judge": StepInputs(after=("export", "stock", "stock_recovered", "references")),
    },
    fixed=("prepare", "scored_model", "sweep", "search"),
    places={
        "speed": ("steps/speed.json",),
        "baselines": ("steps/baselines.json",),
        "finalist_files": ("finalists",),
        "finalists": ("steps/finalists.json",),
        "ranks": ("steps/ranks.json", "ranks"),
        "recover": ("steps/recover.json", "recovered", "model"),
        "export": ("steps/export.json", "model.gguf"),
        "stock_files": ("stock",),
        "stock": ("steps/stock.json",),
        "stock_recovered_files": ("stock_recovered",),
        "stock_recovered": ("steps/stock_recovered.json",),
        "reference_files": ("references",),
        "references": ("steps/references.json",),
        "recoveries": ("steps/recoveries.json",),
        "judge": ("steps/judge.json",),
    },
)


class CompressConfig(JobConfig, NamedKind):
    """One compression: prepare, sweep, search, recover finalists, recover, export, judge.

    Build it with `load_job` or `build_compression`: they list all faults in one `ConfigError`.
    """

    kind: ClassVar[JobKind] = COMPRESS

    job: Literal["compress"] = Field(default="compress", description="What kind of run this file describes.")
    limits: LimitsSection = Field(
        default=LimitsSection(), description="What the result may cost. Give at least one."
    )
    compute: TextComputeSection = Field(default=TextComputeSection(), description="Where the run computes.")
    data: TextDataSection = Field(
        default=TextDataSection(), description="Text to search on, to train on and to judge on."
    )
    choices: ChoicesSection = Field(
        default=ChoicesSection(), description="What may be chosen for each layer."
    )
    search: CompressSearchSection = Field(
        default=CompressSearchSection(), description="How configurations are scored and found."
    )
    recover: CompressRecoverSection | None = Field(
        default=CompressRecoverSection(), description="The fine-tune; null leaves the model unrecovered."
    )
    references: tuple[ReferenceName, ...] = Field(
        default=cast("Any", DEFAULTS.references),
        description="What the result is compared with, at the same bytes; each rule costs a full recovery. "
        "Also: flap, block_influence, stock_importance (the stock types with importance weights of the "
        "calibration text), optimum (the sweep's without refinement).",
    )
    stock_types: tuple[str, ...] = Field(
        default=DEFAULTS.stock,
        min_length=1,
        description="Stock types and mixtures of llama.cpp that the dense model is written in as a "
        "reference; fewer make a shorter run.",
    )
    export: CompressExportSection = Field(
        default=CompressExportSection(), description="The file, and what is measured of it on the engine."
    )
    track: TrackSection = Field(default=TrackSection(), description="MLflow; changes no result.")

    def list_inputs(self) -> dict[str, Any]:
        """Return what can change results, with a key of its own for each kind of reference.

        A step that measures stock files then does not depend on the rules, nor the other way round. A limit
        on the latency is one on the lengths that are timed, too.
        """
        values = super().list_inputs()
        if self.limits.latency is not None:
            values["limits.timed"] = [self.export.prompt, self.export.generated]
        if self.search.recovered_steps and self.recover is not None:
            recipe = self.recover.model_dump(mode="json", include=SCORED_RECIPE)
            values["scored_model.recipe"] = [*sorted(recipe.items()), self.recover.tried_rates[-1]]
        names = values.pop("references")
        found = {f"references.{name}": name in names for name in STOCK_REFERENCES}
        rules = sorted(name for name in names if name not in STOCK_REFERENCES)
        return {**values, **found, "references.rules": rules}
