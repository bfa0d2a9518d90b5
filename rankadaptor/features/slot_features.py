"""Features of the options of every slot, and how the model responds to each option in linear approximation.

They are computed once per setting (`rankadaptor.measure.slot_sensitivity`) and stored with it. Predictors
read them as the prior mean of what an option loses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import name_storage_fault, write_bytes
from rankadaptor.space.slot import Label, read_label

if TYPE_CHECKING:
    from rankadaptor.space import Space

Floats = NDArray[np.float64]
SCHEMA = "1"

FISHER, TOKENWISE, TAYLOR, CHANGE, STREAM, REMOVED, ROUNDED = NAMES = (
    "fisher", "tokenwise", "taylor", "change", "stream", "removed", "rounded",
)  # fmt: skip
"""Names of the features.

- `fisher`: second-order estimate of the KL divergence in nats per token, ½ E[(g · Δy)²] over sequences.
  Δy is what the option changes in the output of its half, g the gradient of a sequence's log likelihood
  there.
- `tokenwise`: the same summed over single tokens, without what tokens of a sequence have in common; the
  sensitivity that ModelOpt's AutoQuantize uses.
- `taylor`: first order, |E[g · Δy]| with the labels of the text, nats per token.
- `change`: E|Δy|² / E|y|², relative to the output of the half.
- `stream`: E|Δy|² / E|x + y|², relative to the hidden states that the half adds to.
- `removed`: share of the half's importance that the option removes.
- `rounded`: relative squared error of the rounded weights.
"""


@dataclass(frozen=True, eq=False)
class SlotFeatures:
    """Numbers about each option of each slot of a space.

    Attributes:
        options: Labels of the options of every slot, as in the space.
        values: `(n_slots, n_options, len(NAMES))`, at least 0; zero at the first reference, for pinned
            slots, and beyond a slot's options.
        responses: `(n_slots, n_options, rank)`: coordinates of g · Δy on all tokens. Their squares add up to
            `tokenwise`, but for what the rank leaves out; the squares of the sum over slots add up to the
            estimate for several options together, in nats per token.
        tokens: Tokens passed through the model to compute them, a backward pass counted as two forward ones.
    """

    options: tuple[tuple[Label, ...], ...] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)
    responses: NDArray[np.float32] = field(repr=False)
    tokens: int

    def __post_init__(self) -> None:
        shape = (len(self.options), max(map(len, self.options)))
        if self.values.shape != (*shape, len(NAMES)) or self.responses.shape[:2] != shape:
            raise InputError(
                f"features of shape {self.values.shape} and responses of shape {self.responses.shape} do not "
                f"belong to {shape[0]} slots of up to {shape[1]} options with {len(NAMES)} features. Compute "
                "them again."
            )
        if not (np.isfinite(self.values).all() and np.isfinite(self.responses).all()):
            raise InputError("some slot features are not finite. Compute them in float32, or on other text.")

    def get(self, name: str) -> Floats:
        """Return one feature, `(n_slots, n_options)`."""
        found: Floats = self.values[:, :, NAMES.index(name)].astype(np.float64)
        return found

    def check_space(self, space: Space) -> None:
        """Raise an error if a space has other options.

        Raises:
            InputError: If it has.
        """
        if self.options != tuple(slot.options for slot in space.slots):
            raise InputError(
                f"these slot features belong to other options than those of {space}. Compute its own."
            )

    def save(self, path: Path) -> None:
        """Write them as safetensors, in half the precision of float32.

        Raises:
            StorageError: If the file cannot be written.
        """
        from safetensors.numpy import save

        labels = [
            [list(label) if isinstance(label, tuple) else label for label in row] for row in self.options
        ]
        metadata = {
            "schema": SCHEMA,
            "tokens": str(self.tokens),
            "options": json.dumps(labels),
            "names": ",".join(NAMES),
        }
        tensors = {"values": self.values, "responses": self.responses.astype(np.float16)}
        with name_storage_fault(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, save(tensors, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CheckpointError: If the file is missing, or of another version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata: dict[str, Any] = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("values", "responses")}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: no slot features ({error}). Compute them again.") from error
        if metadata.get("schema") != SCHEMA or metadata.get("names") != ",".join(NAMES):
            raise CheckpointError(f"{path}: slot features of another version. Compute them again.")
        return cls(
            options=tuple(tuple(read_label(each) for each in row) for row in json.loads(metadata["options"])),
            values=tensors["values"],
            responses=tensors["responses"].astype(np.float32),
            tokens=int(metadata["tokens"]),
        )
