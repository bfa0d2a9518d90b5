"""Checks before any weight is read: model, rows, predictor, tracking. No torch import."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.config.stages import TRAINED
from rankadaptor.errors import InputError, RankAdaptorError
from rankadaptor.model.blocks import choose_blocks
from rankadaptor.named_models import find_model_folder
from rankadaptor.planning.folder_state import check_output, is_done, read_folder
from rankadaptor.planning.planned_space import build_planned_space
from rankadaptor.planning.shape import ModelShape, read_shape, shrink_shape
from rankadaptor.requirements import (
    BITSANDBYTES,
    LM_EVAL,
    MLFLOW,
    RAY,
    XGBOOST,
    Requirement,
    check_package,
    load_package,
)

if TYPE_CHECKING:
    from rankadaptor.config import JobConfig, RunConfig
    from rankadaptor.config.stages import TrackSection
    from rankadaptor.data import SourceSummary

logger = logging.getLogger(__name__)

LONG = 20_000_000  # bytes of a JSON file that a plan does not read
PREVIEW = 2000  # rows that a plan reads of each file
UNREAD = ("l1", "l2", "random")  # importances without calibration text
KEPT_PREDICTOR = "predictor/predictor.json"
PREDICTOR_FILES = ("predictor.json", "predictor.safetensors")

Check = tuple[str, Callable[[], object]]
"""The key, or keys, that a check is about, and the check, which raises what is wrong."""


def check_run(
    config: RunConfig,
    *,
    output: Path | None = None,
    fresh: bool = False,
    adapt: bool = False,
    searches: bool = True,
) -> None:
    """Check everything that needs no weights, before anything is written.

    Args:
        config: The run.
        output: Its folder, `config.output` by default.
        fresh: Whether existing files in the folder will be deleted.
        adapt: Whether later steps of an existing run may have other settings.
        searches: Whether the run searches, and so needs a predictor and a tracker.

    Raises:
        InputError: With the fault, or all faults of the inputs at once.
        StorageError: If the folder cannot be written.
    """

    def check() -> None:
        kept = (output or Path(config.output)) / KEPT_PREDICTOR
        shape = check_inputs(config, searches=searches, guided=kept.exists() and not fresh)
        if config.prune is None or (config.prune.scope == "local" and "blocks" not in config.prune.targets):
            # In other cases the sizes after pruning are only approximate.
            build_planned_space(config, shape if config.prune is None else shrink_shape(shape, config.prune))

    check_start(config, check, read_until="search", output=output, fresh=fresh, adapt=adapt)


def check_start(
    config: JobConfig,
    check: Callable[[], object],
    *,
    read_until: str,
    output: Path | None,
    fresh: bool,
    adapt: bool = True,
) -> None:
    """Check the folder of a run, and the inputs unless the run has read them.

    Args:
        config: The run.
        check: Checks the inputs.
        read_until: The step whose result shows that they were read; what changed since is detected when the
            run continues.
        output: Its folder, `config.output` by default.
        fresh: Whether existing files in the folder will be deleted.
        adapt: Whether later steps of an existing run may have other settings.

    Raises:
        InputError: If the folder is in use or holds another run, or what `check` raises.
        StorageError: If the folder cannot be written.
    """
    folder = output or Path(config.output)
    check_output(folder, config, fresh=fresh, adapt=adapt)
    if not fresh and is_done(folder, read_folder(folder, config), read_until):
        return
    check()
    for line in config.list_places():
        logger.info("%s", line)


def check_inputs(
    config: RunConfig, *, first: int | None = None, searches: bool = True, guided: bool = False
) -> ModelShape:
    """Check model, rows, predictor and tracking store of a run.

    Args:
        config: The run.
        first: Rows to read of each file at most; None reads all.
        searches: Whether predictor and tracking store are needed.
        guided: Whether the run's folder holds a copy of its predictor already.

    Returns:
        The model's sizes.

    Raises:
        InputError: With all faults at once, each naming its key.
    """
    shape = check_model_source(config.model)  # the other checks need it
    checks: tuple[Check, ...] = (
        ("prune.skip_first, prune.skip_last", lambda: _check_blocks(config, shape)),
        ("recipe.sequence_length", lambda: check_length(config.recipe.sequence_length, shape)),
        ("prune.calibration.length", lambda: _check_calibration_length(config, shape)),
        ("data.train", lambda: _check_rows(config, config.data.train, first=first, held=True)),
        ("data.held_out", lambda: _check_rows(config, config.data.held_out, first=first)),
        ("prune.calibration.source", lambda: _check_rows(config, _find_calibration(config), first=first)),
    )
    checks += tuple(
        (key, functools.partial(check_requirement, requirement, load=first is None))
        for key, requirement in _list_requirements(config, searches=searches)
    )
    if searches:
        checks += (
            ("search.predictor_path", lambda: None if guided else _check_predictor(config)),
            *list_tracking_checks(config.track, load=first is None),
        )
    run_checks(config.name, checks)
    return shape


def run_checks(name: str, checks: Iterable[Check]) -> None:
    """Run the checks of a run and raise their faults together.

    Raises:
        InputError: With all faults, each naming its key; of the fault's own kind where there is one alone.
    """
    faults = []
    for key, check in checks:
        try:
            check()
        except RankAdaptorError as error:
            faults.append((key, error))
    if len(faults) == 1:
        raise type(faults[0][1])(f"{faults[0][0]}: {faults[0][1]}") from faults[0][1]
    if faults:
        lines = "\n".join(f"  {key}: {error}" for key, error in faults)
        raise InputError(f"run {name}: {len(faults)} faults.\n{lines}")


def _list_requirements(config: RunConfig, *, searches: bool) -> Iterator[tuple[str, Requirement]]:
    """Yield the optional packages that a run needs, with the keys that need them."""
    if config.quantise is not None:
        key = "recover.method" if config.compute.quantise is None else "compute.quantise"
        yield key, BITSANDBYTES
    if config.compute.executor == "ray":
        yield "compute.executor", RAY
    if searches and config.search.predictor == "boosted_trees":
        yield "search.predictor", XGBOOST
    if searches and config.evaluate.benchmarks:
        yield "evaluate.benchmarks", LM_EVAL


def check_requirement(requirement: Requirement, *, load: bool) -> None:
    """Check for a package; with `load`, import it if nothing else imports it before weights are read."""
    if load and requirement not in (LM_EVAL, MLFLOW):
        load_package(requirement)
    else:
        check_package(requirement)


def check_model_source(model: str) -> ModelShape:
    """Check the folder of a model and its tokenizer, and return the model's sizes.

    Raises:
        CheckpointError: If the model is not there or damaged.
        InputError: If its architecture is not supported.
    """
    folder = _find_folder(model)
    if folder is not None:
        from rankadaptor.model.folder import DERIVED_FILE, check_model_folder
        from rankadaptor.model.tokenizer_folder import check_tokenizer_folder

        check_model_folder(folder)
        if not (folder / DERIVED_FILE).is_file():  # its tokenizer is that of its base
            check_tokenizer_folder(folder)
    elif not model.startswith("kit:") and _is_path(model):
        find_model_folder(model)  # its error lists the allowed forms
    return read_shape(model)


def _find_folder(model: str) -> Path | None:
    return Path(model) if Path(model).is_dir() else None


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or model.count("/") != 1


def _check_blocks(config: RunConfig, shape: ModelShape) -> None:
    if config.prune is not None:
        given = config.prune
        choose_blocks(len(shape.blocks), skip_first=given.skip_first, skip_last=given.skip_last)


def check_length(length: int, shape: ModelShape) -> None:
    """Check that the model reads sequences of so many tokens.

    Raises:
        InputError: If they are too long.
    """
    from rankadaptor.data.model_limits import check_length

    check_length(length, shape.positions, what="length")


def _check_calibration_length(config: RunConfig, shape: ModelShape) -> None:
    if _find_calibration(config) is not None and config.prune is not None:
        check_length(config.prune.calibration.length, shape)


def _find_calibration(config: RunConfig) -> str | None:
    return (
        None if config.prune is None or config.prune.importance in UNREAD else config.prune.calibration.source
    )


def _check_rows(config: RunConfig, source: str | None, *, first: int | None, held: bool = False) -> None:
    """Read the rows of a source; with `held`, some of them will be held out."""
    if source is None:
        return
    seen = check_row_source(source, model=config.model, first=first)
    if seen is None:
        return
    taken = config.data.held_out_rows if held and config.data.held_out is None else 0
    if seen.whole and seen.rows is not None and seen.rows <= taken:
        raise InputError(
            f"{source} has {seen.rows} rows, and data.held_out_rows takes {taken} of them: no row is left to "
            "train on. Give more rows, or lower data.held_out_rows."
        )


def check_row_source(source: str, *, model: str, first: int | None) -> SourceSummary | None:
    """Read the rows of a source, the first ones alone if `first` says so.

    Returns:
        What was seen; None for a file that is not read for a plan.

    Raises:
        InputError: If a row is malformed or there are none.
    """
    from rankadaptor.data import check_source

    path = Path(source)  # JSON is read whole or not at all
    if first is not None and path.suffix.lower() == ".json" and path.is_file() and path.stat().st_size > LONG:
        return None
    return check_source(source, first=first, model_folder=_find_folder(model))


def _check_predictor(config: RunConfig) -> None:
    given = config.search.predictor_path
    if given is None or config.search.predictor not in TRAINED:
        return
    missing = [name for name in PREDICTOR_FILES if not (Path(given) / name).is_file()]
    if missing:
        raise InputError(
            f"{given}: no predictor here, {' and '.join(missing)} missing. Give the folder that `rankadaptor "
            "meta-train` wrote, or null for the predictor of the package."
        )


def list_tracking_checks(track: TrackSection, *, load: bool) -> Iterator[Check]:
    """Yield the checks of MLflow and of its store, if the run is tracked.

    `load` is that of `check_requirement`.
    """
    if track.enabled:
        yield "track.enabled", functools.partial(check_requirement, MLFLOW, load=load)
        yield "track.uri", functools.partial(_check_store, track)


def _check_store(track: TrackSection) -> None:
    """Check that a server or a database answers; a local store is created when the run begins."""
    from rankadaptor.tracking.address import locate_store
    from rankadaptor.tracking.store import knock

    store = locate_store(track.uri)
    if store.folder is None:
        knock(store)
