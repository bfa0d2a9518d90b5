"""What all run files have in common: they are followed to their paths, compared, and named by a digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from rankadaptor.config.paths import Found, PathKeys, follow_paths
from rankadaptor.config.sections import Section
from rankadaptor.files import compute_digest


@dataclass(frozen=True)
class StepInputs:
    """What a step, or a part of one that is kept in files of its own, depends on.

    Attributes:
        keys: Keys and sections of the run file that it reads.
        after: What it builds on.
    """

    keys: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobKind:
    """One kind of job that a run file may describe.

    Attributes:
        name: Its name.
        paths: Keys that hold paths.
        irrelevant: Keys that change no result of a run.
        later: Keys that came later, with the value at which a run is what it was before.
        whole: Keys whose value is a mapping that counts as one value.
        steps: What each step depends on, in the order in which they are done.
        fixed: Steps that a run folder holds once: with another of these it holds another run.
        places: Files of the steps that may be repeated with other settings, relative to the run folder.
    """

    name: str
    paths: PathKeys
    irrelevant: tuple[str, ...]
    steps: Mapping[str, StepInputs]
    fixed: tuple[str, ...]
    places: Mapping[str, tuple[str, ...]]
    later: Mapping[str, Any] = field(default_factory=dict)
    whole: tuple[str, ...] = ()

    def is_relevant(self, key: str) -> bool:
        """Tell whether a dotted key can change a run's results."""
        return not any(key == other or key.startswith(f"{other}.") for other in self.irrelevant)


class NamedKind(Section):
    """Base of the run files that name their kind of job; their first key."""

    job: str


class JobConfig(Section):
    """Base of the run files; each kind of job has further fields of its own."""

    kind: ClassVar[JobKind]

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

    _followed: Found = PrivateAttr(default_factory=dict)

    def with_paths(self, folder: Path | None) -> Self:
        """Return the run with its paths followed; what names and describes it keeps them as written.

        Args:
            folder: Where the run file lies; None if there is no file.
        """
        values, found = follow_paths(self.model_dump(mode="json"), folder=folder, keys=self.kind.paths)
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
            if key not in self.kind.paths.written
        ]

    def get_written(self, key: str) -> Any:
        """Return the value of a dotted key as it was written: a path that means something elsewhere too."""
        return self.flatten()[key]

    def flatten(self) -> dict[str, Any]:
        """Return every value under its dotted key, for example `recipe.learning_rate`."""
        return dict(_walk(self.to_json(), "", whole=self.kind.whole))

    def list_inputs(self) -> dict[str, Any]:
        """Return what can change results, under dotted keys, without later keys at their first value."""
        later = self.kind.later
        return {
            key: value
            for key, value in self.flatten().items()
            if self.kind.is_relevant(key) and not (key in later and value == later[key])
        }

    def digest(self) -> str:
        """Name the run by everything that can change its results."""
        return compute_digest(self.list_inputs())


def describe_difference(
    old: JobConfig, new: JobConfig, *, only: Callable[[str], bool] = lambda _: True
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
        if new.kind.is_relevant(key) and only(key) and _show(before, key) != _show(after, key)
    ]


def _walk(value: dict[str, Any], prefix: str, *, whole: tuple[str, ...]) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, entry in value.items():
        path = f"{prefix}{key}"
        if isinstance(entry, dict) and path not in whole:
            leaves += _walk(entry, f"{path}.", whole=whole)
        else:
            leaves.append((path, entry))
    return leaves


def _show(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "(absent)"
    value = values[key]
    return "null" if value is None else str(value)
