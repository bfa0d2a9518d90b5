"""A record: one measured fine-tune of one allocation, paired with uniform under the same seed."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rankadaptor.errors import InputError

SCHEMA = 1
STATUSES = ("ok", "failed")


@dataclass(frozen=True)
class Record:
    """What one short or full fine-tune measured.

    Attributes:
        setting: Name of the setting (pruned model + data + recipe).
        values: The allocation, one option per slot of the setting's space.
        seed: Seed of initialisation and data order; uniform was measured under the same.
        steps: Optimiser steps taken.
        fidelity: `steps` as a share of the full fine-tune.
        loss: Held-out loss in nats per token; None if failed.
        loss_uniform: Held-out loss of uniform under the same seed and steps, in nats per token.
        parameters: Adapter parameters.
        tokens: Tokens trained on.
        seconds: Wall time of the fine-tune and its measurement.
        status: `ok` or `failed`.
        error: Why it failed.
        commit: Commit of the code that measured it.
        created: Time in ISO 8601, UTC.
        sequence_losses: Held-out loss of each sequence in nats per token, in float32.
    """

    setting: str
    values: tuple[int, ...]
    seed: int
    steps: int
    fidelity: float
    loss: float | None
    loss_uniform: float | None
    parameters: int
    tokens: int
    seconds: float
    status: str = "ok"
    error: str | None = None
    commit: str = "unknown"
    created: str = ""
    sequence_losses: tuple[float, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status={self.status!r}: allowed are {', '.join(STATUSES)}.")
        if self.status == "ok" and not (_is_finite(self.loss) and _is_finite(self.loss_uniform)):
            raise InputError(
                f"loss={self.loss}, loss_uniform={self.loss_uniform}: a record that is ok has both as finite "
                "numbers. Set status='failed' and say why in error."
            )
        for name in ("loss", "loss_uniform"):
            if getattr(self, name) is not None and not _is_finite(getattr(self, name)):
                object.__setattr__(self, name, None)  # NaN has no place in JSON
        if self.steps < 0 or not (_is_finite(self.fidelity) and self.fidelity >= 0):
            raise InputError(f"steps={self.steps}, fidelity={self.fidelity}: must be ≥ 0.")
        object.__setattr__(self, "values", tuple(int(value) for value in self.values))
        for name in ("seed", "steps", "parameters", "tokens"):  # numpy's whole numbers are no JSON
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.sequence_losses is not None:  # as stored, so that a record read back is equal
            rounded = np.asarray(self.sequence_losses, dtype=np.float32)
            object.__setattr__(self, "sequence_losses", tuple(rounded.tolist()))

    @property
    def gain(self) -> float | None:
        """Nats per token by which it beats uniform under the same seed; None if failed."""
        if self.status == "failed" or self.loss is None or self.loss_uniform is None:
            return None
        return self.loss_uniform - self.loss

    @property
    def key(self) -> tuple[str, tuple[int, ...], int, int, str]:
        """What makes two records the same measurement: setting, values, seed, steps and status."""
        return (self.setting, self.values, self.seed, self.steps, self.status)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict; sequence losses as base64 of little-endian float32."""
        data = {"schema": SCHEMA, **dataclasses.asdict(self), "values": list(self.values)}
        if self.sequence_losses is None:
            del data["sequence_losses"]
        else:
            data["sequence_losses"] = encode_losses(self.sequence_losses)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Rebuild a record from `to_json`.

        Raises:
            InputError: If the schema, a field or its kind is wrong.
        """
        if not isinstance(data, dict):
            raise InputError(f"a {type(data).__name__}, not an object with the fields of a record.")
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"schema {data.get('schema')!r}, this version reads {SCHEMA}. Install the version of "
                "rankadaptor that wrote it, or measure again."
            )
        fields = {key: value for key, value in data.items() if key != "schema"}
        known = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - set(known)):
            raise InputError(f"unknown fields {unknown}. Known are {', '.join(known)}; remove the others.")
        needed = [name for name, field in known.items() if field.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in fields]:
            raise InputError(f"fields {missing} are missing. Measure it again, or remove it.")
        for name in ("seed", "steps", "parameters", "tokens"):
            if not _is_whole(fields[name]):
                raise InputError(f"{name}={fields[name]!r}: must be a whole number.")
        for name in ("fidelity", "seconds", "loss", "loss_uniform"):
            optional = name.startswith("loss") and fields[name] is None
            if not optional and (isinstance(fields[name], bool) or not isinstance(fields[name], int | float)):
                raise InputError(f"{name}={fields[name]!r}: must be a number.")
        if not isinstance(fields["values"], list) or not all(_is_whole(value) for value in fields["values"]):
            raise InputError("values must be a list of whole numbers, one per slot.")
        fields["values"] = tuple(fields["values"])
        if isinstance(fields.get("sequence_losses"), str):
            fields["sequence_losses"] = decode_losses(fields["sequence_losses"])
        return cls(**fields)


def encode_losses(losses: tuple[float, ...]) -> str:
    """Write losses as base64 of little-endian float32: exact, and a third of the size of decimal digits."""
    return base64.b64encode(np.asarray(losses, dtype="<f4").tobytes()).decode("ascii")


def decode_losses(text: str) -> tuple[float, ...]:
    """Read losses written by `encode_losses`.

    Raises:
        InputError: If the text is not base64 of float32 numbers.
    """
    try:
        return tuple(np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").tolist())
    except (binascii.Error, ValueError) as error:
        raise InputError("sequence_losses is not base64 of float32 numbers. Remove the field.") from error


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
