"""The pruning record, kept in the model's configuration and so saved with its weights. No torch import."""

from __future__ import annotations

from typing import Any

SCHEMA = 1
DEPTH_FIELDS = ("original", "lost_neighbours")


def read_pruning(model_or_config: Any) -> dict[str, Any] | None:
    """Return the pruning record of a model or configuration, or None if RankAdaptor has not pruned it.

    The record has `schema`, `digest` of the pruned weights, `base` and `base_digest`, `settings`,
    `achieved_ratio` (removed share of all parameters), `parameters_before`, `parameters_after`, and `blocks`:
    one entry per block with `block`, `heads`, `kv_heads`, `channels`, `removed_share` (of the parameters of
    its heads and channels) and `lost_importance` (share of its summed importance that was removed).

    If whole blocks were removed, `removed_blocks` lists their indices in the original model. Each entry of
    `blocks` then has `original`, its own index there, and `lost_neighbours`, the number of blocks removed
    directly before it (for the last one also after it). Their importance is included in its
    `lost_importance`.
    """
    config = getattr(model_or_config, "config", model_or_config)
    record = getattr(config, "rankadaptor", None)
    return record if isinstance(record, dict) else None
