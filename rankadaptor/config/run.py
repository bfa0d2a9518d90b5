"""The whole run file as one frozen object, and the digest that names the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from rankadaptor.config.measure_section import MeasureSection
from rankadaptor.config.paths import WRITTEN, Found, follow_paths
from rankadaptor.config.sections import (
    ComputeSection,
    DataSection,
    PruneSection,
    RecipeSection,
    Section,
    SpaceSection,
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
from rankadaptor.files import compute_digest

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
    "recipe.initialisation": "random",
    "recipe.tune.initialisations": None,
    **{f"measure.{key}": value for key, value in MeasureSection().model_dump(mode="json").items()},
}


class RunConfig(Section):
    """One run: prune, search, confirm, recover, evaluate.

    Build it with `load_run` or `build_run`: they list all faults in one `ConfigError`.
    """

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the run; letters, digits, dot, dash, underscore. Default: the file's name "
        "or its folder's.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything drawn at random.")
    output: str = Field(
        default="runs/run", min_length=1, description="Folder for all results; null takes runs/<name>."
    )
    model: str = Field(
        default="kit:smollm2-135m",
        min_length=1,
        description="kit:smollm2-135m, a folder in Hugging Face form, or a hub id.",
    )
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

    _followed: Found = PrivateAttr(default_factory=dict)

    def with_paths(self, folder: Path | None) -> RunConfig:
        """Return the run with its paths followed; what names and describes it keeps them as written.

        Args:
            folder: Where the run file lies; None if there is no file.
        """
        values, found = follow_paths(self.model_dump(mode="json"), folder=folder)
        if not found:
            return self
        config = type(self).model_validate_json(json.dumps(values))
        config._followed = found
        return config

    def to_json(self) -> dict[str, Any]:
        """Return all fields as a JSON-like dict, paths as they were written."""
        values = self.model_dump(mode="json")
        for key, (followed, given) in self._followed.items():
            *sections, leaf = key.split(".")
            section: Any = values
            for name in sections:
                section = section and section.get(name)
            if section and section[leaf] == followed:
                section[leaf] = given
        return values

    def list_places(self) -> list[str]:
        """Say which inputs were found beside the run file, one a line."""
        return [
            f"{key}: {given} is read from {followed}"
            for key, (followed, given) in self._followed.items()
            if key not in WRITTEN
        ]

    def get_written(self, key: str) -> Any:
        """Return the value of a dotted key as it was written: a path that means something elsewhere too."""
        return self.flatten()[key]

    def flatten(self) -> dict[str, Any]:
        """Return every value under its dotted key, for example `recipe.learning_rate`."""
        return dict(_walk(self.to_json(), ""))

    def list_inputs(self) -> dict[str, Any]:
        """Return what can change results, under dotted keys, without later keys at their first value."""
        return {
            key: value
            for key, value in self.flatten().items()
            if is_relevant(key) and not (key in LATER and value == LATER[key])
        }

    def digest(self) -> str:
        """Name the run by everything that can change its results."""
        return compute_digest(self.list_inputs())


def is_relevant(key: str) -> bool:
    """Tell whether a dotted key can change a run's results."""
    return not any(key == other or key.startswith(f"{other}.") for other in IRRELEVANT)


def _walk(value: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, entry in value.items():
        path = f"{prefix}{key}"
        if isinstance(entry, dict) and path != "space.pinned":
            leaves += _walk(entry, f"{path}.")
        else:
            leaves.append((path, entry))
    return leaves


def describe_difference(
    old: RunConfig, new: RunConfig, *, only: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """List the values by which two runs differ, for example `recover.steps 1000 → 500`.

    Keys that change no result are left out, so the list is empty exactly where the digests agree.

    Args:
        old: One run.
        new: The other.
        only: Tells which dotted keys to look at, all by default.
    """
    before, after = old.flatten(), new.flatten()
    keys = dict.fromkeys([*before, *after])
    return [
        f"{key} {_show(before, key)} → {_show(after, key)}"
        for key in keys
        if is_relevant(key) and only(key) and _show(before, key) != _show(after, key)
    ]


def _show(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "(absent)"
    value = values[key]
    return "null" if value is None else str(value)
