"""What an allocation means to a model: a width and a type for each half, a type for embedding and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankadaptor.components.composition.building import TYPE, WIDTH_TYPE, find_misfit
from rankadaptor.components.depth import is_dropped
from rankadaptor.components.precision import find_format
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankadaptor.components.composition.costs import End
    from rankadaptor.components.width import Half
    from rankadaptor.space import Allocation


@dataclass(frozen=True)
class Choices:
    """One allocation, read.

    Attributes:
        halves: Name of a half → its width and type; type None where it is dropped.
        ends: `embedding` or `output` → its type.
    """

    halves: dict[str, tuple[int, str | None]]
    ends: dict[str, str]


def read_choices(allocation: Allocation, *, halves: Iterable[Half], ends: Iterable[End]) -> Choices:
    """Read the widths and types of an allocation; slots of other components are left alone.

    Raises:
        InputError: If a slot is none of this model's, or its option does not fit the model.
    """
    known_halves, known_ends = {half.name: half for half in halves}, {end.name for end in ends}
    found = Choices({}, {})
    for slot, label in zip(allocation.space.slots, allocation.values, strict=True):
        if slot.component == WIDTH_TYPE:
            half = known_halves.get(slot.name)
            if half is None:
                raise InputError(_explain_foreign(slot.name, known_halves))
            found.halves[slot.name] = _read_half(half, label)
        elif slot.component == TYPE:
            if slot.name not in known_ends:
                raise InputError(_explain_foreign(slot.name, known_ends))
            found.ends[slot.name] = find_format(str(label)).name
    return found


def _read_half(half: Half, label: object) -> tuple[int, str | None]:
    if not (isinstance(label, tuple) and len(label) == 2):
        raise InputError(
            f"{half.name}: option {label!r} is not (width, type). Take allocations of build_space."
        )
    if is_dropped(label):
        return 0, None
    width, kind = label
    if not isinstance(width, int) or not 0 < width <= half.full:
        raise InputError(
            f"{half.name}: width {width!r}; this model has {half.full}. Build the space from this model."
        )
    format_ = find_format(str(kind))
    if (why := find_misfit(half, width, format_)) is not None:
        raise InputError(f"{half.name}: {why}. Choose another type or width.")
    return width, format_.name


def _explain_foreign(name: str, known: Iterable[str]) -> str:
    have = sorted(known)
    return (
        f"slot {name!r} is not one of this model's ({', '.join(have[:4])}{', …' if len(have) > 4 else ''}). "
        "Build the space from this model."
    )
