"""Checks before a compression: model, text, size, engine, tracking. No torch import."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.config import CompressConfig
from rankadaptor.config.limits import Share, read_parameters, read_size
from rankadaptor.engine.stock import STOCK
from rankadaptor.engine.types import find_type
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.planning.preconditions import (
    Check,
    check_model_source,
    check_start,
    list_tracking_checks,
    run_checks,
)
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.text_jobs import list_text_checks


def check_compression(config: CompressConfig, *, output: Path | None = None, fresh: bool = False) -> None:
    """Check everything about a compression that needs no weights, before anything is written.

    Args:
        config: The run.
        output: Its folder, `config.output` by default.
        fresh: Whether what is in the folder is to be thrown away.

    Raises:
        InputError: With the fault, or all faults of the inputs at once.
        StorageError: If the folder cannot be written.
    """
    check_start(
        config, lambda: check_compression_inputs(config), read_until="prepare", output=output, fresh=fresh
    )


def check_compression_inputs(config: CompressConfig, *, first: int | None = None) -> ModelShape:
    """Check model, text, limits, engine and tracking store of a compression.

    Args:
        config: The run.
        first: Rows to read of each file at most; None reads all.

    Returns:
        The model's sizes.

    Raises:
        InputError: With all faults at once, each naming its key.
    """
    shape = check_model_source(config.model)  # the rest makes no sense without
    checks: list[Check] = [
        ("choices", lambda: check_types(config)),
        ("stock_types", lambda: check_stock_types(config)),
        ("search.recovered_steps", lambda: check_scored_model(config)),
        ("limits.size", lambda: check_size(config, shape)),
        ("limits.parameters", lambda: check_parameters(config, shape)),
        *list_text_checks(config, shape, first=first),
    ]
    if config.export.engine:
        checks.append(("export.engine", check_engine))
    if "stock_importance" in config.references:
        from rankadaptor.engine.library import find_library

        checks.append(("references: stock_importance", find_library))
    checks += list_tracking_checks(config.track, load=first is None)
    run_checks(config.name, checks)
    return shape


def check_scored_model(config: CompressConfig) -> None:
    """Check that the model that is scored can be recovered as the run asks.

    Raises:
        InputError: If the run recovers nothing.
    """
    if config.search.recovered_steps and config.recover is None:
        raise InputError(
            f"{config.search.recovered_steps} steps, but recover is null, which names no recovery. Give 0 to "
            "score the dense model, or a recover section."
        )


def check_types(config: CompressConfig) -> None:
    """Check that every type is one of the engine's.

    Raises:
        InputError: If one is unknown.
    """
    for name in (*config.choices.types, *config.choices.embedding):
        find_type(name)


def check_stock_types(config: CompressConfig) -> None:
    """Check that every stock type is one of llama.cpp's.

    Raises:
        InputError: If one is unknown; the message lists all.
    """
    unknown = [name for name in config.stock_types if name not in STOCK]
    if unknown:
        raise InputError(f"no stock type {', '.join(unknown)}. Choose from {', '.join(STOCK)}.")


def check_size(config: CompressConfig, shape: ModelShape) -> None:
    """Check that the embedding alone fits into the file.

    Raises:
        BudgetError: If it does not; the message names the smallest size that it needs.
    """
    if config.limits.size is None:
        return
    bound, (least, name) = read_size(config.limits.size), find_smallest_embedding(config, shape)
    if bound < least:
        raise BudgetError(
            f"given {config.limits.size}: the embedding of {shape.vocabulary:,} tokens alone takes "
            f"{least / 1e6:.1f} MB in {name}, the smallest type of choices.embedding. Give a size above "
            "that, with room for the blocks, or allow a smaller type."
        )


def find_smallest_embedding(config: CompressConfig, shape: ModelShape) -> tuple[int, str]:
    """Return the bytes of the embedding, and of an untied output head, in the smallest type that fits.

    Raises:
        InputError: If no type fits its rows.
    """
    kinds = [find_type(name) for name in config.choices.embedding]
    fitting = [kind for kind in kinds if kind.allows(shape.hidden)]
    if not fitting:
        raise InputError(
            f"choices.embedding: none of {', '.join(config.choices.embedding)} fits rows of {shape.hidden}. "
            "Add Q8_0 or F16."
        )
    smallest = min(fitting, key=lambda kind: kind.bits)
    bytes_each = smallest.count_bytes(shape.vocabulary, shape.hidden)
    return bytes_each * (1 if shape.tied else 2), smallest.name


def check_parameters(config: CompressConfig, shape: ModelShape) -> None:
    """Check that what cannot be cut keeps the limit on parameters.

    Raises:
        BudgetError: If it does not; the message names the smallest number that is possible.
    """
    if config.limits.parameters is None:
        return
    given = read_parameters(config.limits.parameters)
    bound = given.count(shape.parameters) if isinstance(given, Share) else given
    least = shape.hidden * shape.vocabulary * (1 if shape.tied else 2) + shape.hidden
    if bound <= least:
        raise BudgetError(
            f"given {config.limits.parameters} ({bound:,}): embedding and last norm alone have {least:,} "
            f"parameters, which is {least / shape.parameters:.1%} of the model's. Give more."
        )


def check_engine() -> None:
    """Look for llama.cpp's libraries without loading them.

    Raises:
        InputError: If there are none; the message says how to install them and how to go on without.
    """
    from rankadaptor.engine.library import find_library

    try:
        find_library()
    except InputError as error:
        raise InputError(f"{error} Or set export.engine: false, which writes the file unchecked.") from error
