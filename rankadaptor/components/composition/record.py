"""The pruning record of an extracted model, in the form that every pruned model has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from rankadaptor.components.width import Half
from rankadaptor.model.identity import digest_model
from rankadaptor.model.record import SCHEMA, read_pruning
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.pruner import describe_damage
from rankadaptor.space import Allocation


def describe_extracted(
    model: Any,
    small: Any,
    *,
    allocation: Allocation,
    importance: str,
    halves: Sequence[Half],
    scores: Sequence[Array],
    removed: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Return the record of a model that was extracted; see `read_pruning`.

    Args:
        model: The model that it was extracted from.
        small: The extracted model.
        allocation: What was chosen; its labels are among the `settings`.
        importance: What ordered the groups.
        halves: The halves of `model`.
        scores: Their scores.
        removed: The groups of each that are gone.
    """
    earlier = read_pruning(model)
    name = str(getattr(model.config, "_name_or_path", "") or (earlier or {}).get("base") or "unnamed")
    before, after = model.num_parameters(), small.num_parameters()
    record = {
        "schema": SCHEMA,
        "digest": digest_model(small),
        "base": PurePath(name).name if PurePath(name).is_absolute() else name,
        "base_digest": digest_model(model),
        "settings": {"importance": importance, "allocation": allocation.to_json()["slots"]},
        "achieved_ratio": 1 - after / before,
        "parameters_before": before,
        "parameters_after": after,
        "blocks": describe_damage(small, [half.groups for half in halves], scores, removed, earlier),
    }
    if earlier and "removed_blocks" in earlier:
        record["removed_blocks"] = earlier["removed_blocks"]
    return record
