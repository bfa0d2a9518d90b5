"""A meta-trained predictor on disk: `predictor.safetensors` and `predictor.json`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.features import list_linear_features
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.predictor.prior.hierarchy import Hierarchy
from rankadaptor.predictor.prior.layout import list_families
from rankadaptor.predictor.prior.meta_predictor import MetaPredictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rankadaptor.predictor.networks.meta_network import MetaNetwork

logger = logging.getLogger(__name__)

SCHEMA, FIRST_SCHEMA = 2, 1  # of the first, a network on the rank vector was the only kind
WEIGHTS, DESCRIPTION = "predictor.safetensors", "predictor.json"
REMEDY = "Train one with `rankadaptor meta-train`, or restore the folder from its source."


SHIPPED = Path(__file__).parent / "trained"
"""The trained predictor that comes with the package, the only copy in its source tree too."""


def write_predictor(predictor: MetaPredictor | MetaNetwork, folder: Path) -> None:
    """Write weights, then the description with their SHA-256, so that a half-written folder is recognised."""
    if isinstance(predictor, MetaPredictor):
        tensors, description = _take_hierarchy_apart(predictor)
    else:
        tensors, description = _take_network_apart(predictor)
    write_bytes(folder / WEIGHTS, save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
    write_json(
        folder / DESCRIPTION,
        {
            "schema": SCHEMA,
            **description,
            "weights_sha256": compute_file_sha256(folder / WEIGHTS),
            "card": dict(predictor.card),
        },
    )


def read_predictor(folder: Path) -> MetaPredictor | MetaNetwork:
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
        tensors = load_file(folder / WEIGHTS)
        if description["kind"] == "rankadaptor.MetaPredictor" and schema == SCHEMA:
            predictor: MetaPredictor | MetaNetwork = _build_hierarchy(description, tensors)
        else:
            predictor = _build_network(description, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the predictor cannot be rebuilt ({error}). {REMEDY}") from error
    logger.info("predictor %s: trained on %s", folder, predictor.card.get("summary", "an unnamed corpus"))
    return predictor


def read_shipped() -> MetaPredictor | MetaNetwork:
    """Read the trained predictor that comes with the package.

    Raises:
        CheckpointError: If the installation is not whole.
    """
    try:
        return read_predictor(SHIPPED)
    except CheckpointError as error:
        fault = str(error).removesuffix(REMEDY).rstrip()
        raise CheckpointError(
            f"{fault} It belongs to the package: install rankadaptor again, or restore that folder in a "
            "checkout. Another predictor can be named by search.predictor_path."
        ) from error


def _take_hierarchy_apart(predictor: MetaPredictor) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    hierarchy = predictor.hierarchy
    tensors = {"mean": hierarchy.mean, "covariance": hierarchy.covariance, "own": hierarchy.own}
    return tensors, {
        "kind": "rankadaptor.MetaPredictor",
        "linear_features": list(list_linear_features()),
        "families": list(list_families()),
        "size": list(hierarchy.size),
        "noise": list(hierarchy.noise),
        "luck": hierarchy.luck,
        "width": hierarchy.width,
        "seed": predictor.seed,
    }


def _build_hierarchy(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> MetaPredictor:
    known = (list(list_linear_features()), list(list_families()))
    features = description.get("linear_features", description.get("strengths"))  # the earlier word
    families = [name.replace("free.", "uncounted.") for name in description["families"]]  # likewise
    if (features, families) != known:
        raise ValueError("it describes slots by other features than this version")
    return MetaPredictor(
        hierarchy=Hierarchy(
            mean=tensors["mean"],
            covariance=tensors["covariance"],
            own=tensors["own"],
            size=(float(description["size"][0]), float(description["size"][1])),
            noise=(float(description["noise"][0]), float(description["noise"][1])),
            luck=float(description["luck"]),
            width=float(description.get("width", 1.0)),  # predictors written earlier have none
        ),
        seed=int(description["seed"]),
        card=description["card"],
    )


def _take_network_apart(predictor: MetaNetwork) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    network = predictor.network
    tensors = {f"network.{name}": tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    tensors |= {f"rates.{index}": tensor.detach().numpy() for index, tensor in enumerate(predictor.rates)}
    return tensors, {
        "kind": "rankadaptor.MetaNetwork",
        "network": {"kind": network.kind, **network.settings},
        "spread": predictor.spread,
        "online": {
            "algorithm": predictor.algorithm,
            "rate": predictor.rate,
            "steps": predictor.steps,
            "folds": predictor.folds,
            "seed": predictor.seed,
        },
    }


def _build_network(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> MetaNetwork:
    import torch

    from rankadaptor.predictor.networks.meta_network import MetaNetwork
    from rankadaptor.predictor.networks.perceptron_layers import Ensemble, PerceptronEnsemble
    from rankadaptor.predictor.networks.slot_network import SlotNetwork

    shape = dict(description["network"])
    network: Ensemble = (
        SlotNetwork(**shape)
        if shape.pop("kind", PerceptronEnsemble.kind) == SlotNetwork.kind
        else PerceptronEnsemble(**shape)
    )
    names = [name for name in tensors if name.startswith("network.")]
    network.load_state_dict(
        {name.removeprefix("network."): torch.from_numpy(tensors[name]) for name in names}
    )
    count = sum(name.startswith("rates.") for name in tensors)
    return MetaNetwork(
        network=network,
        spread=float(description["spread"]),
        rates=tuple(torch.from_numpy(tensors[f"rates.{index}"]) for index in range(count)),
        card=description["card"],
        **description["online"],
    )
