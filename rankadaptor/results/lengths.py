"""Lengths of a run's fine-tunes: in its search, its verdict and its recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankadaptor.results.document import Document


@dataclass(frozen=True)
class Lengths:
    """Optimiser steps of a run's fine-tunes; None if the document does not say.

    Attributes:
        search: Of one measurement of the search; 0 where ranks are allocated by a score.
        verdict: Of each fine-tune of the pairs behind the verdict.
        recovery: Of the full fine-tunes at the end.
    """

    search: int | None
    verdict: int | None
    recovery: int | None

    @property
    def shorter(self) -> bool:
        """Whether the fine-tunes of the verdict are known to be shorter than the recovery."""
        return self.verdict is not None and self.recovery is not None and self.verdict < self.recovery


def find_lengths(document: Document) -> Lengths:
    """Find the lengths in a result document; missing ones of older documents come from the configuration."""
    config: dict[str, Any] = (document.get("run") or {}).get("config") or {}
    result: dict[str, Any] = document.get("result") or {}
    search, recipe = result.get("search") or {}, result.get("recipe") or {}
    measured = search.get("steps")
    asked = (config.get("search") or {}).get("steps") or measured or None
    return Lengths(
        search=asked if measured is None else measured,
        verdict=(result.get("verdict") or {}).get("steps")
        or (config.get("confirm") or {}).get("steps")
        or asked,
        recovery=(config.get("recover") or {}).get("steps") or recipe.get("steps"),
    )


def describe_pairs(count: int, lengths: Lengths) -> str:
    """Describe the pairs of a verdict (`3 pairs of 5-step fine-tunes`) and the recovery's length."""
    kind = "fine-tune" if lengths.verdict is None else f"{lengths.verdict}-step fine-tune"
    text = f"{count} pair{'s' if count != 1 else ''} of {kind}s on fresh seeds"
    if lengths.recovery is None or lengths.verdict is None:
        return text
    if lengths.verdict == lengths.recovery:
        return f"{text} (as long as the recovery)"
    return f"{text} (the recovery has {lengths.recovery} steps)"
