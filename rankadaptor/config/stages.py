"""Sections of a run file that describe its stages, from the search to collecting a corpus."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from rankadaptor.config.sections import RECIPE, Section
from rankadaptor.credentials import mask_credentials
from rankadaptor.defaults import CHOICE, CONFIRMATION, META_TRAINING, RECOVERY, SEARCH, TRIAL
from rankadaptor.methods import LORA, MethodName
from rankadaptor.recipe import PLAIN

PredictorName = Literal["meta", "ensemble", "perceptron", "boosted_trees", "gaussian_process", "ridge"]
ProposalName = Literal[
    "expected_improvement", "upper_confidence_bound", "thompson", "greedy", "evolutionary", "random"
]
BaselineName = Literal["uniform", "random", "linear_in_depth"]
ModelName = Literal["dense", "pruned", "uniform", "searched", "random", "linear_in_depth"]

TRAINED = ("meta", "ensemble")
"""Predictors that are trained on a corpus, or contain such a one."""
SEVEN = ("boolq", "piqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")


class SearchSection(Section):
    """How allocations are proposed and how many are measured."""

    predictor: PredictorName = Field(
        default="meta",
        description="Performance model that guides the search; meta is the one trained on a corpus, ensemble "
        "mixes it with two that learn from this search alone.",
    )
    predictor_path: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of a trained predictor; null takes the one that comes with the package.",
    )
    proposal: ProposalName = Field(
        default=SEARCH.proposal,
        description="Acquisition function: how the next allocation is chosen; see mean_until.",
    )
    mean_until: int = Field(
        default=SEARCH.mean_until,
        ge=0,
        description="With a trained predictor (meta, ensemble) the search maximises the predicted mean until "
        "this many usable records are there, then it uses proposal; 0 uses proposal from the start. Concerns "
        "expected_improvement and upper_confidence_bound, which add the predictor's uncertainty.",
    )
    evaluations: int = Field(
        default=SEARCH.evaluations, ge=1, description="Allocations to measure, uniform not counted."
    )
    steps: int = Field(default=TRIAL.steps, ge=1, description="Optimiser steps of one measurement.")
    batch: int = Field(
        default=SEARCH.batch,
        ge=1,
        description="Allocations proposed at a time. More can run in parallel, but each is then "
        "proposed from fewer results. Changes results, unlike compute.workers.",
    )
    objectives: tuple[Literal["loss", "parameters"], ...] = Field(
        default=("loss",),
        min_length=1,
        description="[loss] looks for the best allocation inside the budget; [loss, parameters] also reports "
        "the best of each size, predicted from the same measurements.",
    )
    candidates: int = Field(
        default=SEARCH.candidates, ge=2, description="Allocations the predictor ranks before each proposal."
    )
    stop_below_noise: bool = Field(
        default=SEARCH.stop_below_noise,
        description="Stop early when no candidate is expected to gain more than the noise of a measurement.",
    )


class ConfirmSection(Section):
    """How the search's best is compared with uniform on fresh seeds."""

    seeds: int = Field(
        default=CONFIRMATION.seeds, ge=2, description="Fresh seeds; each costs two fine-tunes."
    )
    steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps of each; null takes search.steps."
    )
    confidence: float = Field(
        default=CONFIRMATION.confidence, gt=0.5, lt=1, description="Confidence of the verdict's interval."
    )


class ChoiceAxes(Section):
    """Fields of the recipe that may be chosen for a recovery beside the rate."""

    schedules: tuple[Literal["cosine", "linear", "constant"], ...] | None = Field(
        default=None, min_length=1, description="Schedules of the rate to try; null keeps the recipe's."
    )
    losses: tuple[Literal["plain", "distill", "mixed"], ...] | None = Field(
        default=None, min_length=1, description="What to minimise, to try; null keeps the recipe's loss."
    )

    @property
    def follows_teacher(self) -> bool:
        """Whether a candidate follows the dense model."""
        return any(loss != PLAIN for loss in self.losses or ())

    def list_axes(self, learning_rates: tuple[float, ...]) -> dict[str, tuple[Any, ...]]:
        """Return fields of the recipe and the values to try."""
        axes: dict[str, tuple[Any, ...] | None] = {
            "learning_rate": learning_rates,
            "schedule": self.schedules,
            "loss": self.losses,
        }
        return {name: values for name, values in axes.items() if values is not None}


class ChooseSection(ChoiceAxes):
    """Values of the recipe that are tried for the full fine-tunes, by successive halving."""

    learning_rates: tuple[float, ...] = Field(
        default=CHOICE.learning_rates, min_length=1, description="Peak rates, the usual one first."
    )
    share: float = Field(
        default=CHOICE.share,
        gt=0,
        le=1,
        description="Cost of the choice at most, as a share of one full fine-tune.",
    )

    def list_grid(self) -> dict[str, tuple[Any, ...]]:
        """Return fields of the recipe and the values to try."""
        return self.list_axes(self.learning_rates)


class RecoverSection(Section):
    """The full fine-tunes at the end."""

    method: MethodName = Field(
        default=LORA,
        description="What all fine-tunes of the run train: lora, rslora, dora or qlora, whose ranks are "
        "searched. `rankadaptor methods` describes them.",
    )
    steps: int = Field(
        default=RECIPE.steps,
        ge=1,
        description="Optimiser steps of a full fine-tune; fidelity is a share of them.",
    )
    choose: ChooseSection | None = Field(
        default=None,
        description="Choose the recipe of the full fine-tunes for their own length, on uniform; null takes "
        "the recipe of the search.",
    )
    baselines: tuple[BaselineName, ...] = Field(
        default=("uniform",),
        description="Allocations of equal budget to recover beside the searched one; uniform always is.",
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between measurements of the held-out loss; null takes a fifth of the steps.",
    )
    patience: int | None = Field(
        default=RECOVERY.patience,
        ge=1,
        description="Stop after this many measurements without improvement; null never stops early.",
    )


class EvaluateSection(Section):
    """Zero-shot benchmarks."""

    benchmarks: tuple[str, ...] = Field(
        default=SEVEN,
        description="Benchmark names; [] evaluates none.",
    )
    limit: int | None = Field(
        default=200,
        ge=1,
        description="Questions per benchmark; null takes all. The default gives a first impression; to "
        "compare models, take at least 500. With fewer, the report says that they are too few.",
    )
    models: tuple[ModelName, ...] = Field(
        default=("dense", "pruned", "uniform", "searched"), description="Models that are evaluated."
    )


class TrackSection(Section):
    """MLflow tracking. Changes no result."""

    enabled: bool = Field(default=True, description="Log the run to MLflow.")
    uri: str | None = Field(
        default=None,
        min_length=1,
        description="Tracking URI or folder; null takes MLFLOW_TRACKING_URI, else the sqlite store in "
        "mlruns/. Passwords are not stored with the run.",
    )
    experiment: str | None = Field(
        default=None,
        min_length=1,
        description="MLflow experiment; null takes MLFLOW_EXPERIMENT_NAME, else rankadaptor.",
    )

    @field_serializer("uri", when_used="json")
    def _write_uri(self, uri: str | None) -> str | None:
        """Mask passwords in run.yaml, result.json, MLflow and messages."""
        return None if uri is None else mask_credentials(uri)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show the fields as they are written."""
        return list(self.model_dump(mode="json").items())


class RepeatSection(Section):
    """Allocations measured again under further seeds: the noise of the setting."""

    allocations: int = Field(default=8, ge=1, description="How many, spread evenly over those measured.")
    seeds: int = Field(default=5, ge=2, description="Seeds of each, the first one counted.")
    best: int = Field(
        default=3,
        ge=0,
        description="Those best under the first seed, repeated too: their gains under the others are not "
        "biased by the choice.",
    )


class LengthsSection(Section):
    """Allocations measured at other lengths: how well short runs predict long ones."""

    steps: tuple[int, ...] = Field(min_length=1, description="Optimiser steps beside search.steps.")
    allocations: int = Field(default=20, ge=1, description="How many, spread evenly over those measured.")


class CollectSection(Section):
    """What `rankadaptor collect` measures and where the records go. `rankadaptor run` does not read it."""

    corpus: str = Field(
        default="meta_data", min_length=1, description="Corpus folder that the records are added to."
    )
    allocations: int = Field(
        default=24, ge=1, description="Allocations of the space, shapes and random ones, uniform not counted."
    )
    repeat: RepeatSection | None = Field(
        default=None, description="Allocations measured under further seeds; null repeats none."
    )
    lengths: LengthsSection | None = Field(
        default=None, description="Allocations measured at other lengths; null keeps to search.steps."
    )
    curve: tuple[int, ...] = Field(
        default=(), description="Optimiser steps at which uniform alone is measured, a run for each."
    )
    held_out: bool = Field(default=False, description="Mark the setting as held out from meta-training.")


class MetaTrainSection(Section):
    """How `rankadaptor meta-train` trains the predictor on collect.corpus; `run` does not read it."""

    output: str = Field(
        default="meta_data/predictor", min_length=1, description="Folder the predictor is written to."
    )
    model: Literal["hierarchy", "slots", "perceptron"] = Field(
        default=META_TRAINING.model,
        description="hierarchy is a prior conditioned in closed form; the others are networks, one reading "
        "slots and one (the paper's) the rank vector, which the keys below train.",
    )
    algorithm: Literal["maml", "first_order", "meta_sgd", "anil"] = Field(
        default=META_TRAINING.algorithm,
        description="How a network's initialisation is learned; first_order is cheaper, meta_sgd learns "
        "rates too, anil adapts the last layer alone.",
    )
    inner_steps: int = Field(
        default=META_TRAINING.inner_steps, ge=1, description="Gradient steps of an episode's adaptation."
    )
    inner_learning_rate: float = Field(
        default=META_TRAINING.inner_learning_rate, gt=0, description="Size of those steps."
    )
    epochs: int = Field(default=META_TRAINING.epochs, ge=1, description="Passes over the corpus's settings.")
    learning_rate: float = Field(
        default=META_TRAINING.learning_rate, gt=0, description="Adam's rate for the initialisation."
    )
