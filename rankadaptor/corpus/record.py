"""A record: one measurement of one allocation, paired with the reference measured in the same way."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from rankadaptor.corpus.schema1 import check_fields, convert_record
from rankadaptor.errors import InputError
from rankadaptor.space import Label
from rankadaptor.space.slot import read_label

SCHEMA, OLD = 2, 1
SOURCES = ("slice", "short", "full")
STATUSES = ("ok", "failed")
LOSS, LOSS_REFERENCE, KL = "loss", "loss_reference", "kl"
PARAMETERS, TOKENS, SECONDS = "adapter_parameters", "tokens", "seconds"
WHOLE = ("seed", "steps")
TEXTS = ("setting", "source", "status", "commit", "created")


@dataclass(frozen=True)
class Record:
    """One measurement of one allocation.

    Attributes:
        setting: Name of the setting (base model, data, recipe, space).
        values: The allocation, one label per slot of the setting's space.
        source: `slice` (forward passes on shared weights), `short` or `full` (fine-tunes).
        seed: Seed of initialisation and data order; the reference was measured under the same.
        steps: Optimiser steps taken; of a slice, those of its shared weights, 0 if these were not trained.
        fidelity: `steps` as a share of the full fine-tune; of a slice, the share of the text that it was
            evaluated on.
        metrics: Losses in nats per token and other scores by name: `loss`, `loss_reference` (that of the
            space's first reference under the same seed and steps), `kl`. Without those that failed.
        costs: What the allocation costs and what measuring it took, by name: `adapter_parameters`, `tokens`,
            `seconds`.
        status: `ok` or `failed`.
        error: Why it failed.
        commit: Commit of the code that measured it.
        created: Time in ISO 8601, UTC.
        sequence_losses: Held-out loss of each sequence in nats per token, in float32.
    """

    setting: str
    values: tuple[Label, ...]
    source: str
    seed: int
    steps: int
    fidelity: float
    metrics: Mapping[str, float] = field(hash=False)
    costs: Mapping[str, float] = field(hash=False)
    status: str = "ok"
    error: str | None = None
    commit: str = "unknown"
    created: str = ""
    sequence_losses: tuple[float, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status={self.status!r}: allowed are {', '.join(STATUSES)}.")
        if self.source not in SOURCES:
            raise InputError(f"source={self.source!r}: allowed are {', '.join(SOURCES)}.")
        sound = {name: float(value) for name, value in self.metrics.items() if _is_finite(value)}
        if self.status == "ok" and not {LOSS, LOSS_REFERENCE} <= set(sound):
            raise InputError(
                f"loss={self.metrics.get(LOSS)}, loss_reference={self.metrics.get(LOSS_REFERENCE)}: a record "
                "that is ok has both as finite numbers. Set status='failed' and say why in error."
            )
        if self.steps < 0 or not (_is_finite(self.fidelity) and self.fidelity >= 0):
            raise InputError(f"steps={self.steps}, fidelity={self.fidelity}: must be ≥ 0.")
        object.__setattr__(self, "values", tuple(read_label(value) for value in self.values))
        object.__setattr__(self, "metrics", sound)  # NaN has no place in JSON
        object.__setattr__(self, "costs", {name: _plain(value) for name, value in self.costs.items()})
        for name in WHOLE:  # numpy's whole numbers are no JSON
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.sequence_losses is not None:  # as stored, so that a record read back is equal
            rounded = np.asarray(self.sequence_losses, dtype=np.float32)
            object.__setattr__(self, "sequence_losses", tuple(rounded.tolist()))

    @classmethod
    def of_fine_tune(
        cls,
        *,
        fidelity: float,
        loss: float | None,
        loss_reference: float | None,
        parameters: int,
        tokens: int,
        seconds: float,
        **others: Any,
    ) -> Self:
        """Make the record of a fine-tune.

        Args:
            fidelity: Steps as a share of the full fine-tune; from 1 on the source is `full`.
            loss: Held-out loss in nats per token; None if failed.
            loss_reference: That of the reference under the same seed and steps.
            parameters: Adapter parameters.
            tokens: Tokens trained on.
            seconds: Wall time of the fine-tune and its measurement.
            others: Further fields of `Record`.
        """
        losses = {LOSS: loss, LOSS_REFERENCE: loss_reference}
        return cls(
            source="full" if fidelity >= 1.0 else "short",
            fidelity=fidelity,
            metrics={name: value for name, value in losses.items() if value is not None},
            costs={PARAMETERS: parameters, TOKENS: tokens, SECONDS: seconds},
            **others,
        )

    @property
    def loss(self) -> float | None:
        """Held-out loss in nats per token; None if failed."""
        return self.metrics.get(LOSS)

    @property
    def loss_reference(self) -> float | None:
        """Held-out loss of the reference under the same seed and steps, in nats per token."""
        return self.metrics.get(LOSS_REFERENCE)

    @property
    def kl(self) -> float | None:
        """KL divergence of the dense model from it in nats per token, where it was measured."""
        return self.metrics.get(KL)

    @property
    def parameters(self) -> int:
        """Adapter parameters."""
        return int(self.costs.get(PARAMETERS, 0))

    @property
    def tokens(self) -> int:
        """Tokens trained on, or scored where nothing was trained."""
        return int(self.costs.get(TOKENS, 0))

    @property
    def seconds(self) -> float:
        """Wall time of the measurement."""
        return float(self.costs.get(SECONDS, 0.0))

    @property
    def gain(self) -> float | None:
        """Nats per token by which it beats the reference measured the same way; None if failed.

        Of a record with a KL divergence to the dense model it is `-kl`: the reference, which is the dense
        model itself, has none.
        """
        if self.status == "failed" or self.loss is None or self.loss_reference is None:
            return None
        if self.kl is not None:
            return 0.0 - self.kl
        return self.loss_reference - self.loss

    @property
    def measured(self) -> tuple[tuple[Label, ...], int, int, float | None]:
        """What tells measurements of one setting apart: values, seed, steps, and the fidelity of a slice."""
        return (self.values, self.seed, self.steps, self.fidelity if self.source == "slice" else None)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two records the same measurement."""
        return (self.setting, *self.measured, self.source, self.status)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict; sequence losses as base64 of little-endian float32."""
        data = {
            "schema": SCHEMA,
            **{entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)},
            "values": [list(label) if isinstance(label, tuple) else label for label in self.values],
        }
        if self.sequence_losses is None:
            del data["sequence_losses"]
        else:
            data["sequence_losses"] = encode_losses(self.sequence_losses)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Rebuild a record from `to_json`; records of schema 1 are read too.

        Raises:
            InputError: If the schema, a field or its kind is wrong.
        """
        if not isinstance(data, dict):
            raise InputError(f"a {type(data).__name__}, not an object with the fields of a record.")
        if data.get("schema") == OLD:
            data = convert_record(data)
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"schema {data.get('schema')!r}, this version reads {OLD} and {SCHEMA}. Install the version "
                "of rankadaptor that wrote it, or measure again."
            )
        fields = {key: value for key, value in data.items() if key != "schema"}
        known = {field.name: field for field in dataclasses.fields(cls)}
        check_fields(fields, known=list(known), needed=[
            name for name, field in known.items() if field.default is dataclasses.MISSING
        ])  # fmt: skip
        for name in WHOLE:
            if not _is_whole(fields[name]):
                raise InputError(f"{name}={fields[name]!r}: must be a whole number.")
        for name in TEXTS:
            if not isinstance(fields.get(name, ""), str):
                raise InputError(f"{name}={fields[name]!r}: must be text.")
        if not _is_number(fields["fidelity"]):
            raise InputError(f"fidelity={fields['fidelity']!r}: must be a number.")
        for name in ("metrics", "costs"):
            if not isinstance(fields[name], dict) or not all(map(_is_number, fields[name].values())):
                raise InputError(f"{name}={fields[name]!r}: must be numbers by name.")
        if not isinstance(fields["values"], list):
            raise InputError("values must be a list of labels, one per slot.")
        if isinstance(fields.get("sequence_losses"), str):
            fields["sequence_losses"] = decode_losses(fields["sequence_losses"])
        return cls(**{**fields, "values": tuple(fields["values"])})


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> float:
    """Return a number as JSON holds it, whole ones as such."""
    return int(value) if isinstance(value, int | np.integer) else float(value)
