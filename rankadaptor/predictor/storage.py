"""The files of a trained predictor: `predictor.safetensors` and `predictor.json`.

What the arrays mean is up to the predictor, which describes itself when it is written and is rebuilt by a
function that it gives when it is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SCHEMA, FIRST_SCHEMA = 2, 1
"""Schema 1 knows one kind of predictor, a network on the rank vector."""
WEIGHTS, DESCRIPTION = "predictor.safetensors", "predictor.json"
REMEDY = "Train one with `rankadaptor meta-train`, or restore the folder from its source."
SHIPPED = Path(__file__).parent / "trained"
"""The trained predictor that comes with the package. The repository has no other copy of it."""

Arrays: TypeAlias = "dict[str, NDArray[Any]]"
Built = TypeVar("Built")
Build: TypeAlias = Callable[[dict[str, Any], Arrays], Built]
"""Rebuilds a predictor from its description and its arrays."""


def write_predictor(
    folder: Path, arrays: Arrays, *, description: Mapping[str, Any], card: Mapping[str, Any]
) -> None:
    """Write the arrays, then the description with their SHA-256, so that a half-written folder is recognised.

    Args:
        folder: Where the two files go.
        arrays: By name.
        description: JSON-like, with the predictor's `kind`.
        card: Facts of the training, for people.

    Raises:
        StorageError: If the folder cannot be written.
    """
    write_bytes(folder / WEIGHTS, save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))
    write_json(
        folder / DESCRIPTION,
        {
            "schema": SCHEMA,
            **description,
            "weights_sha256": compute_file_sha256(folder / WEIGHTS),
            "card": dict(card),
        },
    )


def read_predictor(folder: Path, build: Build[Built]) -> Built:
    """Read what `write_predictor` wrote.

    Args:
        folder: That holds the two files.
        build: Rebuilds the predictor. A `KeyError`, `TypeError`, `ValueError` or `RuntimeError` of its own
            means that the description does not fit this version.

    Raises:
        CheckpointError: If the folder or a file is missing, cut short, or of another schema.
    """
    missing = [name for name in (DESCRIPTION, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: no predictor here, {' and '.join(missing)} missing. {REMEDY}")
    try:
        description = read_json(folder / DESCRIPTION)
    except (InputError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{error} {REMEDY}") from error
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema not in (FIRST_SCHEMA, SCHEMA):
        raise CheckpointError(
            f"{folder / DESCRIPTION}: schema {schema!r}, this version reads schemas {FIRST_SCHEMA} and "
            f"{SCHEMA}. Install the version of rankadaptor that wrote it, or train again with "
            "`rankadaptor meta-train`."
        )
    if compute_file_sha256(folder / WEIGHTS) != description.get("weights_sha256"):
        raise CheckpointError(
            f"{folder / WEIGHTS}: not the weights that {DESCRIPTION} describes (cut short or replaced). "
            f"{REMEDY}"
        )
    try:
        predictor = build(description, load_file(folder / WEIGHTS))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the predictor cannot be rebuilt ({error}). {REMEDY}") from error
    summary = description["card"].get("summary", "an unnamed corpus")
    logger.info("predictor %s: trained on %s", folder, summary)
    return predictor


def read_shipped(build: Build[Built]) -> Built:
    """Read the trained predictor that comes with the package.

    Raises:
        CheckpointError: If the installation is not whole.
    """
    try:
        return read_predictor(SHIPPED, build)
    except CheckpointError as error:
        fault = str(error).removesuffix(REMEDY).rstrip()
        raise CheckpointError(
            f"{fault} It belongs to the package: install rankadaptor again, or restore that folder in a "
            "checkout. Another predictor can be named by search.predictor_path."
        ) from error
