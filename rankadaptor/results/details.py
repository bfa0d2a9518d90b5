"""Tables of a run's steps: pruning, ranks, recipe, search, cost, environment."""

from __future__ import annotations

from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.progress import format_seconds
from rankadaptor.recipe import RANDOM
from rankadaptor.results.document import Document, get_part
from rankadaptor.results.table import (
    ABSENT,
    Table,
    write_count,
    write_gain,
    write_loss,
    write_percent,
    write_teacher,
    write_value,
)


def build_pruning_table(document: Document) -> Table:
    """Build the table of size, work and speed before and after pruning.

    Raises:
        InputError: If the run pruned nothing.
    """
    pruning: dict[str, Any] = get_part(
        document, "pruning", sentence="No pruning table: the run stopped before it pruned."
    )
    rows = []
    for key, label in (
        ("parameters", "parameters"),
        ("macs", "multiply-accumulates, 64 tokens"),
        ("bytes", "bytes of weights"),
        ("tokens_per_second", "forward pass, tokens per second"),
    ):
        before, after = pruning.get(f"{key}_before"), pruning.get(f"{key}_after")
        if before is None and after is None:
            continue
        ratio = (
            f"{after / before - 1:+.1%}".replace("-", "−").replace("%", " %") if before and after else ABSENT
        )
        rows.append((label, write_count(before), write_count(after), ratio))
    note = (
        f"Requested: {write_percent(pruning.get('ratio'))} of the prunable blocks' parameters. "
        f"Removed from the model: {write_percent(pruning.get('achieved_ratio'))}. Speed on this machine."
    )
    return Table(
        "pruning", "The model before and after pruning", ("", "before", "after", "change"), tuple(rows), note
    )


def build_block_table(document: Document) -> Table:
    """Build the table of the remaining widths of every block.

    Raises:
        InputError: If the run recorded no blocks.
    """
    blocks: list[dict[str, Any]] = get_part(
        document, "pruning", "blocks", sentence="No table of blocks: the run recorded none."
    )
    rows = tuple(
        (
            str(block["block"]), write_value(block.get("heads")), write_value(block.get("kv_heads")),
            write_value(block.get("channels")), write_percent(block.get("removed_share")),
            write_percent(block.get("lost_importance")),
        )
        for block in blocks
    )  # fmt: skip
    header = ("block", "heads", "key-value heads", "MLP channels", "parameters removed", "importance lost")
    return Table("blocks", "Remaining widths of each block", header, rows)


def build_rank_table(document: Document, *, values: list[int] | None = None) -> Table:
    """Build the table of ranks, one row per block and one column per kind of slot.

    Args:
        document: The whole result document.
        values: One rank per slot; the verdict's candidate, or the search's best, by default.

    Raises:
        InputError: If there is no space or no allocation, or `values` has another length than the space.
    """
    missing = "No ranks: the run stopped before it chose an allocation."
    slots: list[dict[str, Any]] = get_part(document, "space", "slots", sentence=missing)
    if values is None:
        verdict = document["result"].get("verdict") or {}
        values = verdict.get("candidate") or get_part(document, "search", "best", sentence=missing)
    if len(values) != len(slots):
        raise InputError(
            f"{len(values)} ranks for a space of {len(slots)} slots. Give one rank per slot, in the order of "
            "the document's space."
        )
    kinds = list(dict.fromkeys(slot["kind"] for slot in slots))
    ranks = {(slot["block"], slot["kind"]): str(value) for slot, value in zip(slots, values, strict=True)}
    blocks = sorted({slot["block"] for slot in slots})
    rows = tuple((str(block), *(ranks.get((block, kind), ABSENT) for kind in kinds)) for block in blocks)
    return Table("ranks", "Rank per slot", ("block", *kinds), rows)


def build_recipe_table(document: Document) -> Table:
    """Build the table of the recipe's fields.

    Raises:
        InputError: If the run has no recipe yet.
    """
    recipe: dict[str, Any] = get_part(
        document, "recipe", sentence="No recipe: the run stopped before it was tuned."
    )
    rows = tuple((name.replace("_", " "), write_value(value)) for name, value in recipe.items())
    note = (
        "Tuned on uniform ranks before any allocation was compared."
        if document["result"].get("tuning")
        else ""
    )
    return Table("recipe", "Recipe of every fine-tune", ("field", "value"), rows, note)


def build_tuning_table(document: Document) -> Table:
    """Build the table of the tuning's trials.

    Raises:
        InputError: If the recipe was not tuned.
    """
    trials: list[dict[str, Any]] = get_part(
        document, "tuning", sentence="No tuning: the recipe is that of the run file."
    )
    several = any(trial.get("initialisation", RANDOM) != RANDOM for trial in trials)
    rows = tuple(
        (
            write_value(trial.get("learning_rate")), write_value(trial.get("scaling_exponent")),
            *((str(trial.get("initialisation", RANDOM)),) if several else ()),
            write_loss(trial.get("loss")), trial.get("status", "ok"),
        )
        for trial in trials
    )  # fmt: skip
    start = ("initialisation",) if several else ()
    header = ("learning rate", "scaling exponent", *start, "held-out loss", "status")
    note = "Short fine-tunes; losses are comparable within this table only."
    return Table("tuning", "Tuning of the recipe on uniform", header, rows, note)


def build_search_table(document: Document) -> Table:
    """Build the table of the search's evaluations.

    Raises:
        InputError: If nothing has been measured.
    """
    history: list[dict[str, Any]] = get_part(
        document, "search", "history", sentence="No search: the run has measured no allocation yet."
    )
    rows = []
    for entry in history:
        mean, spread = entry.get("predicted_mean"), entry.get("predicted_std")
        predicted = write_gain(mean) + (f" ± {spread:.4f}" if mean is not None and spread is not None else "")
        ranks = " ".join(str(value) for value in entry["values"])
        rows.append(
            (
                str(entry["evaluation"]),
                predicted,
                write_gain(entry.get("gain")),
                entry.get("status", "ok"),
                ranks,
            )
        )
    header = ("evaluation", "predicted gain", "measured gain", "status", "ranks, one per slot")
    note = "Gains over uniform in nats per token, from short paired fine-tunes; positive is better."
    return Table("search", "Evaluations of the search", header, tuple(rows), note)


def build_cost_table(document: Document) -> Table:
    """Build the table of tokens trained and time spent per stage.

    Raises:
        InputError: If the run recorded no cost.
    """
    cost: dict[str, Any] = get_part(document, "cost", sentence="No cost: the run recorded none.")
    tokens, seconds = cost.get("tokens_trained") or {}, cost.get("seconds") or {}
    stages = list(dict.fromkeys([*seconds, *tokens]))
    rows = [
        (
            stage,
            write_count(tokens.get(stage)),
            ABSENT if seconds.get(stage) is None else format_seconds(seconds[stage]),
        )
        for stage in stages
    ]
    known = [value for value in seconds.values() if value is not None]
    total = (write_count(sum(value for value in tokens.values() if value)), format_seconds(sum(known)))
    note = "Wall time on this machine, without repeated waiting of an interrupted run."
    note += write_teacher(((document.get("result") or {}).get("recovered") or {}).values())
    return Table(
        "cost", "Cost of the run", ("stage", "tokens trained", "time"), (*rows, ("all", *total)), note
    )


def build_environment_table(document: Document) -> Table:
    """Build the table of versions and machine kind; empty if the document names none."""
    environment: dict[str, Any] = document.get("environment") or {}
    rows = [(key, write_value(value)) for key, value in environment.items() if key != "packages"]
    rows += [(name, str(version)) for name, version in (environment.get("packages") or {}).items()]
    return Table("environment", "Versions and machine", ("what", "value"), tuple(rows))
