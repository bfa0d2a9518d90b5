"""Weights as they come back from each type: computed once, when they are first needed, and kept."""

from __future__ import annotations

import torch

from rankadaptor.components.precision.formats import find_format, round_trip


class RoundedCopies:
    """Copies of weight matrices, one per matrix, type and order of its columns.

    They are of the weights as they are when a copy is first needed, and have their precision and device: in
    float32 a copy is exactly what the engine reads from its file; in bfloat16 every number is rounded once
    more, by at most one part in 256, which is what a model in bfloat16 does to any weight. A copy that equals
    its weights takes no memory.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], torch.Tensor] = {}

    @property
    def bytes(self) -> int:
        """Memory of all copies so far."""
        tensors = {tensor.data_ptr(): tensor for tensor in self._kept.values()}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def get(
        self, name: str, weight: torch.Tensor, type_name: str, *, columns: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a weight matrix as it comes back from a type.

        Args:
            name: What the matrix is known by.
            weight: The matrix `(rows, columns)`.
            type_name: A type of the engine or an affine grid.
            columns: Order of the columns before rounding; columns beyond the last whole block of the type are
                left out.

        Raises:
            InputError: If the rows do not fit the type.
            NonFiniteError: If a weight is not finite or out of range.
        """
        key = (name, type_name, columns is not None, weight.device, weight.dtype)
        if key not in self._kept:
            exact = weight.detach()
            if columns is not None:
                block = find_format(type_name).block
                exact = exact.index_select(1, columns[: len(columns) // block * block])
            rounded = torch.from_numpy(round_trip(exact.float().cpu().numpy(), type_name))
            rounded = rounded.to(device=weight.device, dtype=weight.dtype)
            same = columns is None and torch.equal(rounded, exact)
            self._kept[key] = exact if same else rounded
        return self._kept[key]
