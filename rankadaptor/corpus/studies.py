"""A study: measurements in a setting beside its records, in `studies/<setting>.json`.

Records share the recipe of their setting. A study has trials with other recipes (learning rates, scaling
exponents), the loss of uniform by length, and benchmark scores of recovered models. Any part can be missing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankadaptor.errors import CorpusError, InputError
from rankadaptor.files import dump_json, read_json, write_text
from rankadaptor.space import Space, Values

SCHEMA = 1
ROLES = ("uniform", "best", "worst")
PARTS: dict[str, tuple[str, ...]] = {
    "learning_rates": ("learning_rate", "loss"),
    "exponents": ("exponent", "learning_rate", "values", "seed", "loss", "loss_uniform"),
    "rates_by_allocation": ("values", "learning_rate", "seed", "loss"),
    "curve": ("steps", "tokens", "loss"),
}
"""The lists of trials, each with the fields that its trials must have."""


@dataclass(frozen=True)
class Trial:
    """One fine-tune of a study; fields that do not apply or were not recorded are None.

    Attributes:
        loss: Held-out loss in nats per token; None if the run failed.
        loss_uniform: Loss of uniform under the same seed, steps, rate and exponent.
        values: The allocation, one option per slot; None means uniform.
        seed: Seed of initialisation and data order.
        learning_rate: Peak learning rate.
        exponent: Scaling exponent γ.
        steps: Optimiser steps.
        tokens: Tokens trained on.
    """

    loss: float | None
    loss_uniform: float | None = None
    values: Values | None = None
    seed: int = 0
    learning_rate: float | None = None
    exponent: float | None = None
    steps: int | None = None
    tokens: int | None = None

    @property
    def gain(self) -> float | None:
        """Nats per token by which it beats uniform; None if either failed or is not known."""
        if self.loss is None or self.loss_uniform is None:
            return None
        return self.loss_uniform - self.loss


@dataclass(frozen=True)
class Score:
    """One benchmark of one recovered model.

    Attributes:
        value: Accuracy, 0 to 1.
        stderr: Its standard error from sampling items; None if unknown.
        difference: Accuracy minus that of uniform on the same items; None if not compared.
        difference_stderr: Paired standard error of `difference`.
        items: Number of items; None if not recorded.
    """

    value: float
    stderr: float | None = None
    difference: float | None = None
    difference_stderr: float | None = None
    items: int | None = None


@dataclass(frozen=True)
class ScoredModel:
    """A model recovered in full and scored on benchmarks.

    Attributes:
        values: The allocation, one option per slot.
        seed: Seed of the fine-tune.
        loss: Held-out loss in nats per token.
        role: `uniform`, or whether the allocation was among the `best` or the `worst` by loss.
        scores: By name of the benchmark.
        steps: Optimiser steps of the recovery; None if not recorded.
    """

    values: Values
    seed: int
    loss: float
    role: str
    scores: Mapping[str, Score]
    steps: int | None = None


@dataclass(frozen=True)
class Study:
    """All measurements in one setting beside its records; parts that were not measured are empty.

    Attributes:
        setting: Name of the setting.
        learning_rates: Uniform (or the allocation named) under several learning rates.
        exponents: Allocations under the scaling exponents.
        rates_by_allocation: Allocations under several learning rates.
        curve: Uniform at several lengths, one run each.
        benchmarks: Recovered models and their scores.
    """

    setting: str
    learning_rates: tuple[Trial, ...] = ()
    exponents: tuple[Trial, ...] = ()
    rates_by_allocation: tuple[Trial, ...] = ()
    curve: tuple[Trial, ...] = ()
    benchmarks: tuple[ScoredModel, ...] = field(default=())

    @classmethod
    def from_json(cls, data: Any, *, space: Space | None = None) -> Study:
        """Build a study from its file's content.

        Args:
            data: The content.
            space: If given, allocations must lie in it.

        Raises:
            InputError: If the schema, a key or a field is wrong; the message names the entry.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            schema = data.get("schema") if isinstance(data, dict) else None
            raise InputError(
                f"study of schema {schema!r}, this version reads {SCHEMA}. Install the version of "
                "rankadaptor that wrote it."
            )
        known = {"schema", "setting", "benchmarks", *PARTS}
        if unknown := sorted(set(data) - known):
            raise InputError(
                f"unknown keys {unknown}. Known are {', '.join(sorted(known))}; remove the others."
            )
        if not isinstance(data.get("setting"), str):
            raise InputError("setting is missing. Write the name of the setting it was measured in.")
        parts = {
            part: tuple(
                _read_trial(entry, f"{part}[{place}]", needed=needed, space=space)
                for place, entry in enumerate(_read_list(data, part))
            )
            for part, needed in PARTS.items()
        }
        models = tuple(
            _read_model(entry, f"benchmarks[{place}]", space=space)
            for place, entry in enumerate(_read_list(data, "benchmarks"))
        )
        return cls(setting=data["setting"], benchmarks=models, **parts)


def read_study(path: Path, *, space: Space | None = None) -> Study:
    """Read `studies/<setting>.json`; a missing file is an empty study.

    Raises:
        CorpusError: If the file has a fault; the message names it and the entry.
    """
    if not path.exists():
        return Study(path.stem)
    try:
        study = Study.from_json(read_json(path), space=space)
    except InputError as error:
        text = str(error)
        raise CorpusError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    if study.setting != path.stem:
        raise CorpusError(
            f"{path}: the study inside is of setting {study.setting!r}. File and setting must have "
            "the same name."
        )
    return study


def _read_list(data: Mapping[str, Any], part: str) -> list[Any]:
    entries = data.get(part) or []
    if not isinstance(entries, list):
        raise InputError(f"{part} is a {type(entries).__name__}; it must be a list.")
    return entries


def _read_trial(entry: Any, place: str, *, needed: tuple[str, ...], space: Space | None) -> Trial:
    fields = _read_fields(entry, place, kind=Trial, needed=needed)
    for name in ("loss", "loss_uniform", "learning_rate", "exponent"):
        fields[name] = _read_number(fields.get(name), f"{place}.{name}")
    for name in ("seed", "steps", "tokens"):
        if name in fields and fields[name] is not None:
            fields[name] = _read_whole(fields[name], f"{place}.{name}")
    if fields.get("values") is not None:
        fields["values"] = _read_values(fields["values"], place, space=space)
    return Trial(**fields)


def _read_model(entry: Any, place: str, *, space: Space | None) -> ScoredModel:
    names = tuple(
        entry.name for entry in dataclasses.fields(ScoredModel) if entry.default is dataclasses.MISSING
    )
    fields = _read_fields(entry, place, kind=ScoredModel, needed=names)
    loss = _read_number(fields["loss"], f"{place}.loss")
    if loss is None:
        raise InputError(f"{place}.loss is missing. Leave out models whose recovery failed.")
    if fields["role"] not in ROLES:
        raise InputError(f"{place}.role={fields['role']!r}: allowed are {', '.join(ROLES)}.")
    if not isinstance(fields["scores"], dict):
        raise InputError(f"{place}.scores must be an object of benchmarks.")
    scores = {}
    for name, score in fields["scores"].items():
        where = f"{place}.scores.{name}"
        given = _read_fields(score, where, kind=Score, needed=("value",))
        items = given.pop("items", None)
        read = {key: _read_number(value, f"{where}.{key}") for key, value in given.items()}
        if read["value"] is None or not 0 <= read["value"] <= 1:
            raise InputError(f"{where}.value={read['value']}: must be a share of 1.")
        if items is not None:
            items = _read_whole(items, f"{where}.items")
        scores[str(name)] = Score(**read, items=items)  # type: ignore[arg-type]
    return ScoredModel(
        values=_read_values(fields["values"], place, space=space),
        seed=_read_whole(fields["seed"], f"{place}.seed"),
        loss=loss,
        role=fields["role"],
        scores=scores,
        steps=None if fields.get("steps") is None else _read_whole(fields["steps"], f"{place}.steps"),
    )


def add_to_study(folder: Path, setting: str, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Add parts to a setting's study; an empty part keeps what an earlier collection measured.

    Args:
        folder: The corpus's, which holds `studies/<setting>.json`.
        setting: Its name.
        parts: Lists by the name of their part, JSON-like, as `Study` reads them.

    Raises:
        InputError: If the file that is there cannot be read.
        CorpusError: If it is no study.
        StorageError: If it cannot be written.
    """
    target = folder / "studies" / f"{setting}.json"
    measured = {"schema": SCHEMA, "setting": setting, **parts}
    stored = read_json(target) if target.exists() else {}
    if not isinstance(stored, dict):
        raise CorpusError(
            f"{target}: a {type(stored).__name__}, not a study. Correct or remove it; nothing was written."
        )
    earlier = {key: value for key, value in stored.items() if value}
    content = {**measured, **earlier, **{key: value for key, value in measured.items() if value}}
    # Compact, because an allocation with one rank per line fills pages.
    write_text(target, dump_json(content, name=str(target)) + "\n")


def _read_fields(entry: Any, place: str, *, kind: type[Any], needed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise InputError(f"{place} is a {type(entry).__name__}; it must be an object.")
    known = [known.name for known in dataclasses.fields(kind)]
    if unknown := sorted(set(entry) - set(known)):
        raise InputError(
            f"{place}: unknown fields {unknown}. Known are {', '.join(known)}; remove the others."
        )
    if missing := [name for name in needed if name not in entry]:
        raise InputError(f"{place}: fields {missing} are missing. Add them, or remove the entry.")
    return dict(entry)


def _read_number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}={value!r}: must be a finite number, or null if the run failed.")
    return float(value)


def _read_whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{place}={value!r}: must be a whole number.")
    return value


def _read_values(values: Any, place: str, *, space: Space | None) -> Values:
    if not isinstance(values, list):
        raise InputError(f"{place}.values={values!r}: must be a list of whole numbers, one per slot.")
    read = tuple(_read_whole(value, f"{place}.values") for value in values)
    if space is not None:
        try:
            space.allocation(read)
        except InputError as error:
            raise InputError(f"{place}.values: {error}") from error
    return read
