"""Leaving a half of a block out of a live model, and putting it back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rankadaptor.space import Label

if TYPE_CHECKING:
    from rankadaptor.model.families import Family

DROPPED: tuple[int, str] = (0, "none")
"""Label of a half that is left out."""


def is_dropped(label: Label) -> bool:
    """Tell whether a label of a half leaves it out."""
    return isinstance(label, tuple) and label[0] == 0


def drop_live(block: Any, half: str, *, family: Family, undo: contextlib.ExitStack) -> None:
    """Leave a half of a block out until `undo` is closed; it is not computed meanwhile."""
    from rankadaptor.model.dropped import drop_half

    for path in (family.half_path(half), family.norm_path(half)):
        undo.callback(setattr, block, path, getattr(block, path))
    drop_half(block, half, family=family)
