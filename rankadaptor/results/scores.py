"""Tables of quality: benchmark accuracies, their paired differences, and held-out losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rankadaptor.progress import format_seconds
from rankadaptor.results.document import Document, get_part
from rankadaptor.results.lengths import describe_pairs, find_lengths
from rankadaptor.results.table import (
    ABSENT,
    Table,
    write_count,
    write_gain,
    write_loss,
    write_percent,
    write_points,
)

MODEL_ORDER = ("dense", "pruned", "uniform", "searched")
FEWEST_ITEMS = 500
"""Smallest number of items for a comparison; with fewer, one standard error is above 2 points."""


def list_models(scores: dict[str, Any]) -> list[str]:
    """Return the evaluated models: dense, pruned, uniform and searched first, then the others in order."""
    return [name for name in MODEL_ORDER if name in scores] + [
        name for name in scores if name not in MODEL_ORDER
    ]


def list_benchmarks(scores: dict[str, Any]) -> list[str]:
    """Return the benchmarks in the order in which the models were evaluated on them."""
    rows = (name for model in scores.values() for name, score in model.items() if isinstance(score, dict))
    return list(dict.fromkeys(name for name in rows if name != "mean"))


def explain_few_items(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Explain that a benchmark has too few items to compare models, with the size of a standard error.

    Args:
        scores: Per model and benchmark, as in `benchmarks` of a result.

    Returns:
        Two sentences; empty if no benchmark was evaluated or each has `FEWEST_ITEMS` or more.
    """
    cells = [cell for model in scores.values() for cell in model.values() if isinstance(cell, dict)]
    few = [cell for cell in cells if cell.get("n") is not None and cell["n"] < FEWEST_ITEMS]
    if not few:
        return ""
    counts = sorted({int(cell["n"]) for cell in few})
    number = (
        write_count(counts[0])
        if len(counts) == 1
        else f"{write_count(counts[0])} to {write_count(counts[-1])}"
    )
    where = "per benchmark" if len(few) == len(cells) else "in some benchmarks"
    text = (
        f"Too few items to compare models: {number} {where}; at least {FEWEST_ITEMS} are needed "
        f"(evaluate.limit: {FEWEST_ITEMS})."
    )
    errors = [100 * cell["standard_error"] for cell in few if cell.get("standard_error")]
    if errors:
        text += f" One standard error is up to {max(errors):.0f} points; smaller differences show nothing."
    return text


def build_accuracy_table(document: Document) -> Table:
    """Build the table of benchmark accuracies: one row per model, one column per benchmark, and the mean.

    Raises:
        InputError: If the run evaluated no benchmark.
    """
    scores: dict[str, Any] = get_part(
        document, "benchmarks", sentence="No accuracy table: the run evaluated no benchmark."
    )
    benchmarks = list_benchmarks(scores)
    rows = []
    for model in list_models(scores):
        cells = [scores[model].get(name) or {} for name in benchmarks]
        texts = [write_points(cell.get("accuracy"), cell.get("standard_error")) for cell in cells]
        mean = write_points(scores[model].get("mean"), scores[model].get("mean_standard_error"))
        rows.append((model, *texts, mean))
    return Table(
        "accuracy",
        "Zero-shot accuracy in %, ± one standard error",
        ("model", *benchmarks, "mean"),
        tuple(rows),
        " ".join(filter(None, (explain_few_items(scores), _describe_items(scores, benchmarks)))),
    )


def _describe_items(scores: dict[str, Any], benchmarks: list[str]) -> str:
    first = next(iter(scores.values()))
    known = [name for name in benchmarks if isinstance(first.get(name), dict)]
    counts = {first[name].get("n") for name in known}
    items = (
        f"{write_count(counts.pop())} items per benchmark"
        if len(counts) == 1
        else "Items: " + ", ".join(f"{name} {write_count(first[name].get('n'))}" for name in known)
    )
    normed = [name for name in known if first[name].get("metric") == "acc_norm"]
    metric = f"; acc_norm for {', '.join(normed)}, acc for the rest" if normed else ""
    return f"{items}, the same for every model{metric}. Standard errors are those of sampling items."


def build_difference_table(document: Document) -> Table:
    """Build the table of paired accuracy differences, one row per pair of models.

    Raises:
        InputError: If the run compared no two models.
    """
    pairs: dict[str, Any] = get_part(
        document, "benchmark_differences", sentence="No paired differences: the run compared no two models."
    )
    benchmarks = list_benchmarks(pairs)
    rows = []
    beyond = total = 0
    for pair, cells in pairs.items():
        entries = [cells.get(name) or {} for name in (*benchmarks, "mean")]
        rows.append(
            (
                pair.replace("-", " − "),
                *(
                    write_points(entry.get("difference"), entry.get("standard_error"), signed=True)
                    for entry in entries
                ),
            )
        )
        single = [entry for entry in entries[:-1] if entry.get("standard_error")]
        total += len(single)
        beyond += sum(abs(entry["difference"]) > 1.96 * entry["standard_error"] for entry in single)
    note = "In percentage points, ± one standard error, paired item by item. " + (
        explain_few_items(document["result"].get("benchmarks") or {})
        or f"{beyond} of these {total} single-benchmark differences are larger than 1.96 standard errors; "
        "by chance alone one in twenty would be."
    )
    title = "Paired differences of accuracy"
    return Table("differences", title, ("pair", *benchmarks, "mean"), tuple(rows), note)


def build_loss_table(document: Document) -> Table:
    """Build the table of held-out losses: dense, pruned, and every recovered allocation at its budget.

    Raises:
        InputError: If no loss was measured.
    """
    losses: dict[str, Any] = get_part(
        document, "losses", sentence="No losses: the run stopped before it measured any."
    )
    recovered: dict[str, Any] = document["result"].get("recovered") or {}
    dense, pruned = losses.get("dense"), losses.get("pruned")
    base = (recovered.get("uniform") or {}).get("loss")
    rows = [
        (name, write_loss(losses[name]), _perplexity(losses[name]), ABSENT, ABSENT, ABSENT, ABSENT, ABSENT)
        for name in ("dense", "pruned")
        if losses.get(name) is not None
    ]
    for name in list_models(recovered):
        run = recovered[name]
        loss = run.get("loss")
        regained = _share_regained(loss, dense=dense, pruned=pruned)
        gain = base - loss if base is not None and loss is not None and name != "uniform" else None
        seconds = run.get("seconds")
        rows.append(
            (
                name, write_loss(loss), _perplexity(loss), write_gain(gain), write_percent(regained),
                write_count(run.get("parameters")), write_count(run.get("tokens")),
                ABSENT if seconds is None else format_seconds(seconds),
            )
        )  # fmt: skip
    header = (
        "model", "loss", "perplexity", "gain over uniform", "regained", "adapter parameters",
        "tokens trained", "time",
    )  # fmt: skip
    shares = [
        _share_regained(run.get("loss"), dense=dense, pruned=pruned) or 0.0 for run in recovered.values()
    ]
    note = _describe_losses(document, beyond=max(shares, default=0.0) > 1.0)
    return Table("losses", "Held-out loss after recovery (nats per token)", header, tuple(rows), note)


def _describe_losses(document: Document, *, beyond: bool) -> str:
    lengths = find_lengths(document)
    gains = (document["result"].get("verdict") or {}).get("gains")
    steps = "" if lengths.recovery is None else f" of {write_count(lengths.recovery)} steps"
    rests = f"the verdict rests on {describe_pairs(len(gains), lengths)} instead" if gains else (
        "a verdict needs pairs on fresh seeds"
    )  # fmt: skip
    text = (
        f"One full fine-tune{steps} each, from one seed: the last decimals are noise, and {rests}. "
        "“Regained” is the share of the loss between pruned and dense that recovery won back."
    )
    if beyond:
        text += (
            " More than 100 % means a lower loss on this text than the dense model's: recovery also tunes "
            "the model to text of this kind, which the dense model was not. It does not mean a better model "
            "than the dense one after the same training."
        )
    return text


def _share_regained(loss: float | None, *, dense: float | None, pruned: float | None) -> float | None:
    if loss is None or dense is None or pruned is None or pruned <= dense:
        return None
    return (pruned - loss) / (pruned - dense)


def _perplexity(loss: float | None) -> str:
    return ABSENT if loss is None or loss > 50 else f"{math.exp(loss):,.1f}"
