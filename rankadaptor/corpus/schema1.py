"""Records of schema 1, which has only fine-tunes of ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankadaptor.errors import InputError

NEEDED = (
    "setting", "values", "seed", "steps", "fidelity", "loss", "loss_uniform", "parameters", "tokens",
    "seconds",
)  # fmt: skip
OPTIONAL = ("status", "error", "commit", "created", "sequence_losses")
LOSSES = {"loss": "loss", "loss_uniform": "loss_reference"}
COSTS = {"parameters": "adapter_parameters", "tokens": "tokens", "seconds": "seconds"}


def convert_record(data: dict[str, Any]) -> dict[str, Any]:
    """Convert a record of schema 1 to schema 2.

    Raises:
        InputError: If a field is missing, unknown or of the wrong kind.
    """
    fields = {key: value for key, value in data.items() if key != "schema"}
    check_fields(fields, known=[*NEEDED, *OPTIONAL], needed=list(NEEDED))
    for name in ("parameters", "tokens"):
        if not isinstance(fields[name], int) or isinstance(fields[name], bool):
            raise InputError(f"{name}={fields[name]!r}: must be a whole number.")
    for name in (*LOSSES, "fidelity", "seconds"):
        optional = name in LOSSES and fields[name] is None
        if not optional and (isinstance(fields[name], bool) or not isinstance(fields[name], int | float)):
            raise InputError(f"{name}={fields[name]!r}: must be a number.")
    values = fields["values"]
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise InputError("values must be a list of whole numbers, one per slot.")
    return {
        "schema": 2,
        "setting": fields["setting"],
        "values": values,
        "source": "full" if fields["fidelity"] >= 1.0 else "short",
        "seed": fields["seed"],
        "steps": fields["steps"],
        "fidelity": fields["fidelity"],
        "metrics": {new: fields[old] for old, new in LOSSES.items() if fields[old] is not None},
        "costs": {new: fields[old] for old, new in COSTS.items()},
        **{name: fields[name] for name in OPTIONAL if name in fields},
    }


def check_fields(fields: Mapping[str, Any], *, known: list[str], needed: list[str]) -> None:
    """Check the names of a record's fields.

    Raises:
        InputError: If one is unknown or missing.
    """
    if unknown := sorted(set(fields) - set(known)):
        raise InputError(f"unknown fields {unknown}. Known are {', '.join(known)}; remove the others.")
    if missing := [name for name in needed if name not in fields]:
        raise InputError(f"fields {missing} are missing. Measure it again, or remove it.")
