"""A corpus as pandas tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

    from rankadaptor.corpus.corpus import Corpus

COLUMNS = (
    "setting", "ranks", "slots", "seed", "steps", "fidelity", "loss", "loss_uniform", "gain", "parameters",
    "seconds",
    "status", "held_out", "tokens", "commit",
)  # fmt: skip
SETTING_COLUMNS = (
    "setting", "digest", "held_out", "model", "ratio", "slots", "budget", "mode", "learning_rate",
    "scaling_exponent",
    "records", "failed", "allocations", "seeds", "pruned_loss", "dense_loss",
)  # fmt: skip


def build_table(corpus: Corpus) -> pandas.DataFrame:
    """Return one row per record.

    Returns:
        A table with the columns of `COLUMNS`. `ranks` and `slots` are tuples of equal length (values, slot
        names); `loss`, `loss_uniform` and `gain` are in nats per token and missing where the status is
        `failed`; `seconds` are wall time; `parameters` are adapter parameters.
    """
    import pandas

    rows = []
    for name in corpus.names():
        setting = corpus.setting(name)
        slots = tuple(slot.name for slot in corpus.space(name).slots)
        rows += [
            {
                **{column: getattr(record, column, None) for column in COLUMNS},
                "ranks": record.values,
                "slots": slots,
                "held_out": setting.held_out,
            }
            for record in corpus.records(name)
        ]
    table = pandas.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("fidelity", "loss", "loss_uniform", "gain", "seconds"), "float64"))


def describe_settings(corpus: Corpus) -> pandas.DataFrame:
    """Return one row per setting with the columns of `SETTING_COLUMNS`; losses in nats per token."""
    import pandas

    rows: list[dict[str, Any]] = []
    for name in corpus.names():
        setting, space, records = corpus.setting(name), corpus.space(name), corpus.records(name)
        rows.append(
            {
                "setting": name,
                "digest": setting.digest,
                "held_out": setting.held_out,
                "model": setting.model.get("name"),
                "ratio": setting.pruning.get("ratio"),
                "slots": space.n_slots,
                "budget": space.budget,
                "mode": space.mode,
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
