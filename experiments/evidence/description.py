"""Traits of a setting, by which regimes are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter import read_sizes

if TYPE_CHECKING:
    from rankadaptor.corpus import Setting
    from rankadaptor.space import Space

TRAITS = ("model", "ratio", "scope", "removed", "importance", "budget", "slots", "data")
UNKNOWN = "?"


def describe_setting(setting: Setting, space: Space) -> dict[str, str]:
    """Return the traits of a setting by the names in `TRAITS`, `?` where they are not recorded."""
    pruning: dict[str, Any] = setting.pruning.get("settings") or setting.pruning
    ratio = setting.pruning.get("achieved_ratio", setting.pruning.get("ratio"))
    targets = pruning.get("targets")
    return {
        "model": _shorten(setting.model.get("name")),
        "ratio": UNKNOWN if ratio is None else f"{100 * float(ratio):.0f} %",
        "scope": str(pruning.get("scope", UNKNOWN)),
        "removed": ", ".join(map(str, targets)) if isinstance(targets, list | tuple) else UNKNOWN,
        "importance": str(pruning.get("importance", UNKNOWN)),
        "budget": f"r={_find_uniform_rank(space)}",
        "slots": _name_granularity(space),
        "data": _shorten(setting.data.get("train", setting.data.get("rows"))),
    }


def _shorten(value: Any) -> str:
    """Return the last part of a name such as `kit:alpaca` or `runs/models/small`."""
    return UNKNOWN if value is None else str(value).rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def _find_uniform_rank(space: Space) -> int:
    free = [
        value
        for value, slot in zip(read_sizes(space.reference()), space.slots, strict=True)
        if slot.pinned is None and value
    ]
    return max(set(free), key=free.count) if free else 0


def _name_granularity(space: Space) -> str:
    kinds = {slot.kind for slot in space.slots}
    if kinds == {"block"}:
        return "block"
    return "half block" if kinds <= {"attention", "mlp"} else "linear"
