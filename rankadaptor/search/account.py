"""What a method of choosing has cost: evaluations, tokens and seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rankadaptor.corpus import Record


@dataclass(frozen=True)
class Account:
    """Costs of one method; add those of its parts, such as a sweep and a refinement.

    Attributes:
        evaluations: Allocations measured, each once for every record.
        tokens: Tokens scored or trained on.
        seconds: Wall time of the measurements.
    """

    evaluations: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of_records(cls, records: Iterable[Record]) -> Self:
        """Sum the costs of records, failed ones included."""
        given = list(records)
        return cls(
            evaluations=len(given),
            tokens=sum(record.tokens for record in given),
            seconds=sum(record.seconds for record in given),
        )

    def __add__(self, other: Account) -> Account:
        return Account(
            self.evaluations + other.evaluations, self.tokens + other.tokens, self.seconds + other.seconds
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return asdict(self)
