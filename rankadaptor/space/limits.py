"""Limits on resources: upper bounds that every allocation of a space keeps."""

from __future__ import annotations

from dataclasses import dataclass

from rankadaptor.errors import InputError


@dataclass(frozen=True)
class Limit:
    """An upper bound on one resource.

    Attributes:
        resource: Name of the resource, as the slots' costs name it.
        bound: Largest total allowed, in the resource's unit.
    """

    resource: str
    bound: int

    def __post_init__(self) -> None:
        if self.bound < 0:
            raise InputError(f"limit on {self.resource}: {self.bound}. It must be at least 0.")

    @property
    def name(self) -> str:
        """The resource in words."""
        return self.resource.replace("_", " ")
