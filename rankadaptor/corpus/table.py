"""A corpus as pandas tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from rankadaptor.components.adapter import describe_budget
from rankadaptor.corpus.record import Record
from rankadaptor.corpus.setting import Setting
from rankadaptor.space import Space

if TYPE_CHECKING:
    import pandas

Contents: TypeAlias = tuple[Setting, Space, Sequence[Record]]
"""A setting, its space and its records."""

COLUMNS = (
    "setting", "values", "slots", "source", "seed", "steps", "fidelity", "loss", "loss_reference", "kl",
    "gain", "parameters", "seconds", "status", "held_out", "tokens", "commit",
)  # fmt: skip
SETTING_COLUMNS = (
    "setting", "digest", "held_out", "model", "ratio", "slots", "budget", "mode", "learning_rate",
    "scaling_exponent",
    "records", "failed", "allocations", "seeds", "pruned_loss", "dense_loss",
)  # fmt: skip


def build_table(contents: Sequence[Contents]) -> pandas.DataFrame:
    """Return one row per record.

    Returns:
        A table with the columns of `COLUMNS`. `values` and `slots` are tuples of equal length (labels, slot
        names); `loss`, `loss_reference`, `kl` and `gain` are in nats per token and missing where the status
        is `failed` (`kl` also where none was measured); `seconds` are wall time; `parameters` are adapter
        parameters.
    """
    import pandas

    rows = []
    for setting, space, records in contents:
        slots = tuple(slot.name for slot in space.slots)
        rows += [
            {
                **{column: getattr(record, column, None) for column in COLUMNS},
                "values": record.values,
                "slots": slots,
                "held_out": setting.held_out,
            }
            for record in records
        ]
    table = pandas.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(
        dict.fromkeys(("fidelity", "loss", "loss_reference", "kl", "gain", "seconds"), "float64")
    )


def describe_settings(contents: Sequence[Contents]) -> pandas.DataFrame:
    """Return one row per setting with the columns of `SETTING_COLUMNS`; losses in nats per token."""
    import pandas

    rows: list[dict[str, Any]] = []
    for setting, space, records in contents:
        budget, mode = describe_budget(space)
        rows.append(
            {
                "setting": setting.name,
                "digest": setting.digest,
                "held_out": setting.held_out,
                "model": setting.model.get("name"),
                "ratio": setting.pruning.get("ratio"),
                "slots": space.n_slots,
                "budget": budget,
                "mode": mode,
                "learning_rate": setting.recipe.get("learning_rate"),
                "scaling_exponent": setting.recipe.get("scaling_exponent"),
                "records": len(records),
                "failed": sum(record.status == "failed" for record in records),
                "allocations": len({record.values for record in records}),
                "seeds": len({record.seed for record in records}),
                "pruned_loss": setting.pruned_loss,
                "dense_loss": setting.dense_loss,
            }
        )
    return pandas.DataFrame(rows, columns=list(SETTING_COLUMNS))
