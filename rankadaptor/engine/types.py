"""Tensor types of llama.cpp: how many weights share a block, and how many bytes a block takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rankadaptor.errors import InputError


@dataclass(frozen=True)
class TensorType:
    """How the engine stores the weights of one tensor.

    Attributes:
        name: llama.cpp's name of it.
        block: Consecutive weights of a row that share their scales; a row is a whole number of blocks.
        block_bytes: Bytes of one block, scales included.
    """

    name: str
    block: int
    block_bytes: int

    @property
    def bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.block_bytes / self.block

    def allows(self, columns: int) -> bool:
        """Tell whether rows of this length can be stored."""
        return columns > 0 and columns % self.block == 0

    def check_columns(self, columns: int, *, name: str = "a tensor") -> None:
        """Check that rows of this length can be stored.

        Args:
            columns: Length of a row: the input width of a linear.
            name: What an error calls the tensor.

        Raises:
            InputError: If not; the message names the nearest lengths that can.
        """
        if self.allows(columns):
            return
        below = max(columns, 0) // self.block * self.block
        nearest = f"{below} or {below + self.block}" if below else str(self.block)
        raise InputError(
            f"{name}: {self.name} stores rows of whole blocks of {self.block} weights, and these rows have "
            f"{columns}. The nearest lengths are {nearest}. Change the width, or choose a type for any "
            "length (F32, F16, BF16)" + (" or for multiples of 32 (Q8_0, Q4_0)." if self.block > 32 else ".")
        )

    def count_bytes(self, rows: int, columns: int) -> int:
        """Count the bytes of a tensor's data, without padding between tensors.

        Raises:
            InputError: If rows of this length cannot be stored.
        """
        self.check_columns(columns)
        return rows * (columns // self.block) * self.block_bytes


# Block sizes and bytes are those of ggml-common.h; a test compares them with the gguf package.
TYPES: Mapping[str, TensorType] = MappingProxyType(
    {
        name: TensorType(name, block, block_bytes)
        for name, block, block_bytes in (
            ("F32", 1, 4),
            ("F16", 1, 2),
            ("BF16", 1, 2),
            ("Q8_0", 32, 34),
            ("Q5_1", 32, 24),
            ("Q5_0", 32, 22),
            ("Q4_1", 32, 20),
            ("Q4_0", 32, 18),
            ("IQ4_NL", 32, 18),
            ("MXFP4", 32, 17),
            ("Q6_K", 256, 210),
            ("Q5_K", 256, 176),
            ("Q4_K", 256, 144),
            ("Q3_K", 256, 110),
            ("Q2_K", 256, 84),
        )
    }
)


def find_type(name: str) -> TensorType:
    """Return the type of this name; upper and lower case are the same.

    Raises:
        InputError: If there is none; the message lists all.
    """
    found = TYPES.get(name.upper()) if isinstance(name, str) else None
    if found is None:
        raise InputError(f"no tensor type {name!r}. Choose one of {', '.join(TYPES)}.")
    return found
