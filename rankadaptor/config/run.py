"""The run file of the rank search as one frozen object."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from rankadaptor.config.job import JobConfig, JobKind
from rankadaptor.config.measure_section import MeasureSection
from rankadaptor.config.paths import PathKeys
from rankadaptor.config.sections import (
    RECIPE,
    ComputeSection,
    DataSection,
    PruneSection,
    RecipeSection,
    SpaceSection,
    TuneSection,
)
from rankadaptor.config.stages import (
    CollectSection,
    ConfirmSection,
    EvaluateSection,
    MetaTrainSection,
    RecoverSection,
    SearchSection,
    TrackSection,
)
from rankadaptor.config.steps import FIXED, PLACES, STEP_INPUTS
from rankadaptor.methods import LORA, QLORA, find_method
from rankadaptor.recipe import LATER as RECIPE_LATER

# Keys that change no result of a run: its name, where it writes, how many processes share the work.
IRRELEVANT = (
    "name", "output", "track", "collect", "meta_train",
    "compute.workers", "compute.executor", "compute.gpus_per_trial", "compute.trial_timeout",
)  # fmt: skip
# Keys that came later, with the value at which a run is what it was before: run files keep their digest.
LATER: dict[str, Any] = {
    "search.objectives": ["loss"],
    "search.mean_until": SearchSection().mean_until,
    "compute.quantise": None,
    "recover.method": LORA,
    **{f"recipe.{key}": value for key, value in RECIPE_LATER.items()},
    "recipe.tune.initialisations": None,
    "recover.choose": None,
    **{f"measure.{key}": value for key, value in MeasureSection().model_dump(mode="json").items()},
}


RANK_SEARCH = JobKind(
    name="rank_search",
    paths=PathKeys(
        read=("model", "data.train", "data.held_out", "prune.calibration.source", "search.predictor_path"),
        tasks=("evaluate.benchmarks",),
        written=("output", "collect.corpus", "meta_train.output", "track.uri"),
    ),
    irrelevant=IRRELEVANT,
    later=LATER,
    whole=("space.pinned",),
    steps=STEP_INPUTS,
    fixed=FIXED,
    places=PLACES,
)


class RunConfig(JobConfig):
    """One run: prune, search, confirm, recover, evaluate.

    Build it with `load_run` or `build_run`: they list all faults in one `ConfigError`.
    """

    kind: ClassVar[JobKind] = RANK_SEARCH

    compute: ComputeSection = Field(default=ComputeSection(), description="Where the run computes.")
    prune: PruneSection | None = Field(
        default=PruneSection(), description="How the model is pruned; null takes it as already pruned."
    )
    data: DataSection = Field(
        default=DataSection(), description="Text to train on and to measure the loss on."
    )
    space: SpaceSection = Field(
        default=SpaceSection(),
        description="Allocations to choose from. Give exactly one of like_uniform, parameters, megabytes.",
    )
    recipe: RecipeSection = Field(
        default=RecipeSection(), description="The fine-tuning recipe; the same for every allocation."
    )
    search: SearchSection = Field(default=SearchSection(), description="How allocations are found.")
    measure: MeasureSection = Field(
        default=MeasureSection(), description="How the search measures an allocation."
    )
    confirm: ConfirmSection = Field(
        default=ConfirmSection(), description="The search's best against uniform, on fresh seeds."
    )
    recover: RecoverSection = Field(default=RecoverSection(), description="The full fine-tunes.")
    evaluate: EvaluateSection = Field(default=EvaluateSection(), description="Zero-shot benchmarks.")
    track: TrackSection = Field(default=TrackSection(), description="MLflow; changes no result.")
    collect: CollectSection = Field(
        default=CollectSection(),
        description="What `rankadaptor collect` measures; `run` does not read it.",
    )
    meta_train: MetaTrainSection = Field(
        default=MetaTrainSection(),
        description="How `rankadaptor meta-train` trains; `run` does not read it.",
    )

    @property
    def quantise(self) -> str | None:
        """Precision of the frozen linears in fine-tunes, if it differs: the one given, or QLoRA's."""
        return "nf4" if self.recover.method == QLORA else self.compute.quantise

    @property
    def learning_rate(self) -> float:
        """The recipe's learning rate; the default stands for the method's own."""
        given = self.recipe.learning_rate
        own = self.recover.method != LORA and given == RECIPE.learning_rate
        return find_method(self.recover.method).learning_rate if own else given

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """The learning rates to try: those given, or the method's own; none where nothing is tuned."""
        if self.recipe.tune is None:
            return ()
        given = self.recipe.tune.learning_rates
        own = self.recover.method != LORA and given == TuneSection().learning_rates
        return find_method(self.recover.method).learning_rates if own else given
