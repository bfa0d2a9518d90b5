"""From a run file and overrides to a checked run, and back to YAML."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rankadaptor.config.compress import CompressConfig
from rankadaptor.config.compress_conflicts import find_compress_conflicts
from rankadaptor.config.conflicts import Conflict, find_conflicts
from rankadaptor.config.document import dump_value, parse_value, read_document
from rankadaptor.config.elastic import ElasticConfig
from rankadaptor.config.elastic_conflicts import find_elastic_conflicts
from rankadaptor.config.faults import describe_fault, list_keys
from rankadaptor.config.job import JobConfig
from rankadaptor.config.run import RunConfig
from rankadaptor.errors import ConfigError

_GENERIC_NAMES = ("run", "config")
_RETIRED = (("collect", "study"), ("collect", "benchmarks"))
"""Keys of earlier versions, which run files may still contain; null, their default, is ignored."""


Job = RunConfig | CompressConfig | ElasticConfig
"""A run of any kind."""
JobType = type[RunConfig] | type[CompressConfig] | type[ElasticConfig]
JOBS: Mapping[str, JobType] = {
    config.kind.name: config for config in (RunConfig, CompressConfig, ElasticConfig)
}
RANK_SEARCH = RunConfig.kind.name
"""What a file without the key `job` describes."""
Built = TypeVar("Built", RunConfig, CompressConfig, ElasticConfig)


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read a run file of any kind, apply `a.b=c` overrides, and check everything that needs no model.

    Args:
        path: The YAML file.
        overrides: Assignments such as `recover.steps=50`, their right-hand side YAML; the last of a key wins.

    Raises:
        ConfigError: With all faults of the file and the overrides at once.
    """
    path = Path(path)
    document = read_document(path)
    values, places = document.values, dict(document.places)
    if values.get("name") is None:
        values["name"] = guess_name(path)
    faults = _override(values, places, overrides)
    return _check(values, places=places, source=str(path), faults=faults, folder=path.parent)


def _override(values: dict[str, Any], places: dict[str, str], overrides: Sequence[str]) -> list[str]:
    """Apply assignments to nested values; return what is wrong with them."""
    faults = []
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            faults.append(f"--set {override}: must be key=value, for example --set recover.steps=50.")
            continue
        value = parse_value(text, source=f"--set {override}")
        if blocked := assign_value(values, key, value):
            faults.append(f"--set {key}: {blocked} holds a value, not a section. Set {blocked} itself.")
        places[key] = "--set"
    return faults


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read the run file of a rank search; see `load_job`.

    Raises:
        ConfigError: With all faults of the file and the overrides at once, or if it describes another job.
    """
    config = load_job(path, overrides)
    if not isinstance(config, RunConfig):
        raise ConfigError(
            str(path),
            [
                f"job: {config.kind.name}: this command is for a rank search. `rankadaptor run`, `plan` and "
                "`report` take this file; `rankadaptor init` writes one of a rank search."
            ],
        )
    return config


def build_run(values: Mapping[str, Any], *, source: str = "settings") -> RunConfig:
    """Check a nested mapping as `load_run` checks a file; `source` names it in errors.

    Raises:
        ConfigError: With all faults at once.
    """
    return _build(RunConfig, values, source=source)


def build_compression(
    values: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "settings"
) -> CompressConfig:
    """Check a nested mapping, with assignments such as `recover.steps=50`, as the run file of `compress`.

    Raises:
        ConfigError: With all faults at once; `source` names the mapping.
    """
    return _build(CompressConfig, values, overrides, source=source)


def build_elastic(values: Mapping[str, Any], *, source: str = "settings") -> ElasticConfig:
    """Check a nested mapping as the run file of an elastic job; `source` names it in errors.

    Raises:
        ConfigError: With all faults at once.
    """
    return _build(ElasticConfig, values, source=source)


def _build(
    job: type[Built], values: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str
) -> Built:
    asked = {**copy.deepcopy(dict(values)), "job": job.kind.name}
    places: dict[str, str] = {}
    faults = _override(asked, places, overrides)
    config = _check(asked, places=places, source=source, faults=faults)
    assert isinstance(config, job)
    return config


def guess_name(path: Path) -> str:
    """Name a run after its file, or after the folder of a file that is called just run or config."""
    name = path.stem if path.stem not in _GENERIC_NAMES else path.resolve().parent.name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-") or "run"


def dump_run(config: JobConfig) -> str:
    """Write a run back as YAML that `load_job` reads to an equal run."""
    return dump_value(config.to_json(), width=110)


def assign_value(values: dict[str, Any], key: str, value: Any) -> str | None:
    """Set a dotted key in a nested dict; return the key that is in the way, if one is."""
    *sections, leaf = key.split(".")
    for depth, section in enumerate(sections, start=1):
        inner = values.get(section)
        if inner is None:
            inner = values[section] = {}
        if not isinstance(inner, dict):
            return ".".join(sections[:depth])
        values = inner
    values[leaf] = value
    return None


def _check(
    values: Mapping[str, Any],
    *,
    places: Mapping[str, str],
    source: str,
    faults: Sequence[str] = (),
    folder: Path | None = None,
) -> Job:
    given = values.get("job", RANK_SEARCH)
    if given not in JOBS:
        allowed = f"allowed are {', '.join(JOBS)}. Without this key a file describes a rank search."
        raise ConfigError(source, [*faults, _place("job", f"given {given!r}; {allowed}", places)])
    config, found = _validate(values, JOBS[given], folder=folder)
    listed = [*faults, *(_place(key, text, places) for key, text in found)]
    if listed or config is None:
        raise ConfigError(source, listed)
    return config


def _validate(
    values: Mapping[str, Any], job: JobType, *, folder: Path | None
) -> tuple[Job | None, list[tuple[str, str]]]:
    """Return the run and its faults: first of single keys, then conflicts between sound keys."""
    # As JSON text, because only there strict types still let a list be a tuple.
    found: list[tuple[str, str]] = []
    sound = json.loads(json.dumps(values, default=str))
    if job is RunConfig:
        sound.pop("job", None)
        found += _take_out_retired_keys(sound)
        _give_way_to_another_budget(sound)
    if sound.get("output") is None:
        sound["output"] = f"runs/{sound.get('name', 'run')}"
    try:
        config = job.model_validate_json(json.dumps(sound))
    except ValidationError as error:
        keys = list_keys(job)
        for detail in error.errors(include_url=False):
            found.append(describe_fault(detail, keys=keys))
            _remove(sound, [str(part) for part in detail["loc"]])
        try:
            config = job.model_validate_json(json.dumps(sound))
        except ValidationError:
            return None, found
    config = config.with_paths(folder)
    faulty = {key for key, _ in found}
    found.extend(
        (conflict.keys[0], conflict.text)
        for conflict in _find_conflicts(config)
        if not any(_covers(key, fault) for key in conflict.keys for fault in faulty)
    )
    return config, found


def _find_conflicts(config: Job) -> list[Conflict]:
    if isinstance(config, CompressConfig):
        return list(find_compress_conflicts(config))
    if isinstance(config, ElasticConfig):
        return list(find_elastic_conflicts(config))
    return find_conflicts(config)


def _take_out_retired_keys(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Remove the keys of earlier versions; return a fault for each that is not null."""
    faults = []
    for section, key in _RETIRED:
        inner = values.get(section)
        if isinstance(inner, dict) and inner.pop(key, None) is not None:
            faults.append(
                (f"{section}.{key}", "no longer a key: `collect` measures only records. Remove it.")
            )
    return faults


def _give_way_to_another_budget(values: dict[str, Any]) -> None:
    """Drop the default of `space.like_uniform` where the file names another budget."""
    space = values.get("space")
    if not isinstance(space, dict) or "like_uniform" in space:
        return
    if any(space.get(key) is not None for key in ("parameters", "megabytes")):
        space["like_uniform"] = None


def _covers(key: str, fault: str) -> bool:
    return fault == key or fault.startswith(f"{key}.") or key.startswith(f"{fault}.")


def _place(key: str, text: str, places: Mapping[str, str]) -> str:
    """Put the place of a key, or of the nearest section around it, before its fault."""
    around = key
    while around and around not in places:
        around = around.rpartition(".")[0]
    where = places.get(around)
    return (
        f"{where}: {key}: {text}"
        if where and where != "--set"
        else f"--set {key}: {text}"
        if where
        else f"{key}: {text}"
    )


def _remove(values: dict[str, Any], path: Sequence[str]) -> None:
    """Remove the innermost mapping entry on a path, so that its default takes over."""
    for part in path[:-1]:
        following = values.get(part)
        if not isinstance(following, dict):
            values.pop(part, None)
            return
        values = following
    values.pop(path[-1], None)
