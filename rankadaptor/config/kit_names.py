"""Names of the kit in a run file, checked when the file is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.kit import BENCHMARKS, DERIVED_MODELS, MODELS, ROW_NAMES

if TYPE_CHECKING:
    from rankadaptor.config.run import RunConfig

PREFIX = "kit:"


def find_unknown_names(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield the key and the fault of each `kit:` name or benchmark that does not exist."""
    sources = {"data.train": config.data.train, "data.held_out": config.data.held_out}
    if config.prune is not None:
        sources["prune.calibration.source"] = config.prune.calibration.source
    models, rows = list_kit_models(), list_kit_rows()
    if config.model.startswith(PREFIX) and config.model not in models:
        yield "model", describe_name(config.model, models, "a folder in Hugging Face form, or a hub id")
    for key, source in sources.items():
        if source is not None and source.startswith(PREFIX) and source not in rows:
            yield key, describe_name(source, rows, "hub:NAME, or a data file")
    yield from find_unknown_benchmarks("evaluate.benchmarks", config.evaluate.benchmarks)


def find_unknown_benchmarks(key: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield `key` and the fault of each benchmark that is not in the kit, no file and not of a hub."""
    for name in names:
        is_file = name.endswith((".yaml", ".yml"))
        if is_file and not Path(name).is_file():
            yield key, f"given {name!r}: no such task file. Give its path from the working folder."
        elif not (is_file or name in BENCHMARKS or name.startswith("hub:")):
            others = "a task file of lm-eval (.yaml), or hub:NAME for any of its tasks"
            yield key, describe_name(name, BENCHMARKS, others)


def list_kit_models() -> list[str]:
    """Return the kit's models as a run file names them."""
    return [f"{PREFIX}{name}" for name in (*MODELS, *DERIVED_MODELS)]


def list_kit_rows() -> list[str]:
    """Return the kit's sets of rows as a run file names them."""
    return [f"{PREFIX}{name}" for name in ROW_NAMES]


def describe_name(given: str, allowed: Iterable[str], others: str) -> str:
    """Return the fault of a name that does not exist, and what was probably meant."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"given {given!r}; allowed are {', '.join(names)}, {others}.{hint}"
