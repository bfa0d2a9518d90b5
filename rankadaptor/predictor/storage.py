"""A meta-trained predictor on disk: `predictor.safetensors` and `predictor.json`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.predictor.meta_predictor import MetaPredictor
from rankadaptor.predictor.network import PerceptronEnsemble

logger = logging.getLogger(__name__)

SCHEMA = 1
WEIGHTS, DESCRIPTION = "predictor.safetensors", "predictor.json"
REMEDY = "Train one with `rankadaptor meta-train`, or restore the folder from its source."


def write_predictor(predictor: MetaPredictor, folder: Path) -> None:
    """Write weights, then the description with their SHA-256, so that a half-written folder is recognised."""
    tensors = {
        f"network.{name}": tensor.contiguous() for name, tensor in predictor.network.state_dict().items()
    }
    tensors |= {
        f"rates.{index}": tensor.detach().contiguous() for index, tensor in enumerate(predictor.rates)
    }
    write_bytes(folder / WEIGHTS, save(tensors))
    network = predictor.network
    write_json(
        folder / DESCRIPTION,
        {
            "schema": SCHEMA,
            "kind": "rankadaptor.MetaPredictor",
            "weights_sha256": compute_file_sha256(folder / WEIGHTS),
            "network": {"members": network.members, "width": network.width, "hidden": network.hidden},
            "spread": predictor.spread,
            "online": {
                "algorithm": predictor.algorithm,
                "rate": predictor.rate,
                "steps": predictor.steps,
                "folds": predictor.folds,
                "seed": predictor.seed,
            },
            "card": dict(predictor.card),
        },
    )


def read_predictor(folder: Path) -> MetaPredictor:
    """Read what `write_predictor` wrote.

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
    if schema != SCHEMA:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: schema {schema!r}, this version reads schema {SCHEMA}. "
            "Install the version of rankadaptor that wrote it, or train again with `rankadaptor meta-train`."
        )
    if compute_file_sha256(folder / WEIGHTS) != description.get("weights_sha256"):
        raise CheckpointError(
            f"{folder / WEIGHTS}: not the weights that {DESCRIPTION} describes (cut short or replaced). "
            f"{REMEDY}"
        )
    try:
        return _build_predictor(description, folder)
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the predictor cannot be rebuilt ({error}). {REMEDY}") from error


def _build_predictor(description: dict[str, Any], folder: Path) -> MetaPredictor:
    tensors = load_file(folder / WEIGHTS)
    network = PerceptronEnsemble(**description["network"])
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    count = sum(name.startswith("rates.") for name in tensors)
    predictor = MetaPredictor(
        network=network,
        spread=float(description["spread"]),
        rates=tuple(tensors[f"rates.{index}"] for index in range(count)),
        card=description["card"],
        **description["online"],
    )
    logger.info("predictor %s: trained on %s", folder, predictor.card.get("summary", "an unnamed corpus"))
    return predictor
