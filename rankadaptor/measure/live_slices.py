"""What slice scores need of a live model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from rankadaptor.space import Allocation


class LiveSlices(Protocol):
    """A model whose weights can be those of any allocation for a while, as `LiveModel` offers it.

    Attributes:
        model: The causal language model; dense while nothing is applied.
    """

    model: Any

    @property
    def order_digest(self) -> str:
        """Name of the order in which widths are kept: with another one, an allocation is another model."""

    def applied(self, allocation: Allocation) -> AbstractContextManager[Any]:
        """Return a context in which `model` computes what the allocation says; undone without a trace."""
