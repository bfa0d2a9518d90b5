"""Which widths a half may have. No torch import."""

from __future__ import annotations

from rankadaptor.components.width.halves import Half
from rankadaptor.errors import InputError
from rankadaptor.model.families import ATTENTION

CHANNEL_STEP = 32
"""MLP widths are multiples of it: the inputs of a quantised tensor come in blocks of 32."""
LEVELS = 8


def choose_widths(half: Half, *, cut: bool, drop: bool, levels: int = LEVELS) -> tuple[int, ...]:
    """Return the widths that a half may have, ascending, the whole one included.

    Args:
        half: The half.
        cut: Whether it may become narrower: MLPs to multiples of 32 near 1, 2, ... of `levels` equal parts of
            the whole width, attention to any number of KV groups.
        drop: Whether it may be left out: width 0.
        levels: Number of MLP widths, the whole one included.

    Raises:
        InputError: If `levels` is below one.
    """
    if levels < 1:
        raise InputError(f"levels={levels}: give at least 1, the whole width; 8 is usual.")
    widths = {half.full}
    if cut and half.kind == ATTENTION:
        widths |= set(range(1, half.full))
    elif cut:
        steps = [round(half.full * level / levels / CHANNEL_STEP) for level in range(1, levels)]
        widths |= {step * CHANNEL_STEP for step in steps if 0 < step * CHANNEL_STEP < half.full}
    return tuple(sorted(widths | ({0} if drop else set())))
