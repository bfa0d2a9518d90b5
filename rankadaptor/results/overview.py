"""The run in one table: model, pruning, data, predictor, lengths, precision, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.progress import format_seconds
from rankadaptor.results.document import Document, check_schema
from rankadaptor.results.lengths import describe_pairs, find_lengths
from rankadaptor.results.table import Table, write_count, write_percent, write_value

TARGETS = {"heads": "attention heads", "channels": "MLP channels", "blocks": "whole blocks"}
PREDICTORS = {
    "meta": "meta, trained on a corpus of earlier measurements",
    "ensemble": "ensemble of the trained predictor, if there is one, and two that learn from this search",
}
"""Descriptions of predictors whose name does not say whether they were trained on a corpus."""
MEASURES = {"elastic": "slices of one elastic adapter", "successive_halving": "successive halving"}


def build_overview_table(document: Document) -> Table:
    """Build the overview table; a stage that the run has not reached has no row.

    Raises:
        InputError: If the document does not describe the run.
    """
    check_schema(document)
    config: dict[str, Any] = (document.get("run") or {}).get("config") or {}
    result: dict[str, Any] = document.get("result") or {}
    lines = {
        "model": config.get("model"),
        "pruning": _describe_pruning(result.get("pruning") or {}),
        "data": _describe_data(config.get("data") or {}),
        "space": _describe_space(config.get("space") or {}, result.get("space") or {}),
        "precision": describe_compute(document),
        "recipe": _describe_recipe(result.get("recipe") or {}),
        "tuning": _describe_tuning(config, result.get("tuning") or []),
        "predictor": describe_predictor(document),
        "search": _describe_search(document),
        "verdict": _describe_confirmation(document),
        "recovery": _describe_recovery(document),
        "benchmarks": _describe_benchmarks(result.get("benchmarks") or {}),
        "cost": _describe_cost(result.get("cost") or {}),
    }
    rows = tuple((name, text) for name, text in lines.items() if text)
    if not rows:
        raise InputError("No overview: the result does not describe the run.")
    return Table("overview", "Model, data, lengths, precision and cost", ("step", "what"), rows)


def describe_predictor(document: Document) -> str:
    """Name the predictor of the search, and the requested one if it differs."""
    search: Mapping[str, Any] = (document.get("result") or {}).get("search") or {}
    config = (document.get("run") or {}).get("config") or {}
    given: Mapping[str, Any] = config.get("search") or {}
    used, asked = search.get("predictor"), given.get("predictor")
    if not used:
        return ""
    if search.get("proposal") == "greedy" and not search.get("evaluations"):
        return f"none: ranks were allocated by the score {used}"
    if asked and asked != used:
        return f"{used} instead of the requested {asked}: no trained predictor was found"
    place = f" (from {given['predictor_path']})" if used in PREDICTORS and given.get("predictor_path") else ""
    return PREDICTORS.get(used, f"{used}, which learns from this search alone") + place


def describe_compute(document: Document) -> str:
    """Describe device and precision of the run; values that were not recorded are those of the run file."""
    config = (document.get("run") or {}).get("config") or {}
    recorded: Mapping[str, Any] = (document.get("result") or {}).get("compute") or {}
    asked: Mapping[str, Any] = config.get("compute") or {}
    found = {**asked, **recorded}
    if not found.get("dtype"):
        return ""
    dtype, device = found["dtype"], found.get("device")
    if "auto" in (dtype, device):
        text = "chosen for the machine (auto) and not recorded"
        text += "".join(
            f"; {name} requested: {value}"
            for name, value in (("precision", dtype), ("device", device))
            if value not in ("auto", None)
        )
    else:
        text = f"{dtype} on {device}" if device else str(dtype)
    if found.get("quantise"):
        text += f", frozen linears in {found['quantise']}"
    if found.get("trial_device") not in (None, device):
        text += f", trials on {found['trial_device']}"
    text += f", {_count(found['threads'], 'thread')} a process" if found.get("threads") else ""
    return text + (f" ({found['reason']})" if found.get("reason") else "")


def _describe_pruning(pruning: Mapping[str, Any]) -> str:
    achieved, settings = pruning.get("achieved_ratio"), pruning.get("settings") or {}
    if not achieved:
        return ""
    parts = [TARGETS.get(each, str(each)) for each in settings.get("targets") or ()]
    text = f"{write_percent(achieved)} of the parameters removed"
    if parts:
        text += f": {' and '.join(parts)}"
    if settings.get("importance"):
        text += f", by {settings['importance']} importance, {settings.get('scope', 'local')}"
    return text


def _describe_data(data: Mapping[str, Any]) -> str:
    if not data.get("train"):
        return ""
    count = data.get("train_rows")
    rows = "all other rows" if count is None else f"{write_count(count)} rows"
    held_out = data.get("held_out_rows")
    judged = f"; loss on {write_count(held_out)} held-out rows" if held_out else ""
    if data.get("held_out"):
        judged += f" of {data['held_out']}"
    return f"{rows} of {data['train']}{judged}"


def _describe_space(asked: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    slots = space.get("slots")
    if not slots:
        return ""
    kind = f", one a {str(asked['slots']).replace('_', ' ')}" if asked.get("slots") else ""
    of = "summed ranks" if space.get("mode") == "rank_sum" else "adapter parameters"
    budget = space.get("budget")
    return f"{len(slots)} ranks{kind}" + (
        f"; at most {write_count(budget)} {of}" if budget is not None else ""
    )


def _describe_recipe(recipe: Mapping[str, Any]) -> str:
    if not recipe.get("batch_size"):
        return ""
    return (
        f"learning rate {write_value(recipe.get('learning_rate'))}, batches of {recipe['batch_size']} rows "
        f"of at most {write_count(recipe.get('sequence_length'))} tokens"
    )


def _describe_tuning(config: Mapping[str, Any], trials: list[Any]) -> str:
    if not trials:
        return ""
    steps = ((config.get("recipe") or {}).get("tune") or {}).get("steps")
    return f"{_count(len(trials), 'fine-tune')} of uniform" + (
        f", {_count(steps, 'step')} each" if steps else ""
    )


def _describe_search(document: Document) -> str:
    search = (document.get("result") or {}).get("search") or {}
    count, steps = search.get("evaluations"), find_lengths(document).search
    if not count:
        return ""
    way = MEASURES.get(search.get("measure", ""))
    kind = f"{steps}-step fine-tunes" if steps else "short fine-tunes"
    how = f"by {way}" if way else f"by {kind}, each paired with uniform's"
    return f"{_count(count, 'allocation')} measured {how}; proposed by {search.get('proposal', 'the search')}"


def _describe_confirmation(document: Document) -> str:
    verdict = (document.get("result") or {}).get("verdict") or {}
    gains = verdict.get("gains")
    return describe_pairs(len(gains), find_lengths(document)) if gains else ""


def _describe_recovery(document: Document) -> str:
    recovered: Mapping[str, Any] = (document.get("result") or {}).get("recovered") or {}
    if not recovered:
        return ""
    steps = find_lengths(document).recovery
    length = f"{write_count(steps)} steps" if steps else "a full fine-tune"
    text = f"{length} for each of {', '.join(recovered)}; one seed"
    ends = {name: (entry.get("curve") or [{}])[-1].get("step") for name, entry in recovered.items()}
    early = [f"{name} after {end}" for name, end in ends.items() if end and steps and end < steps]
    return text + (f"; stopped early: {', '.join(early)}" if early else "")


def _describe_benchmarks(scores: Mapping[str, Any]) -> str:
    first: Mapping[str, Any] = next(iter(scores.values()), {})
    items = {name: entry.get("n") for name, entry in first.items() if isinstance(entry, Mapping)}
    if not items:
        return ""
    counts = set(items.values())
    each = f", {write_count(counts.pop())} items each" if len(counts) == 1 else ""
    return f"{', '.join(items)}{each}"


def _describe_cost(cost: Mapping[str, Any]) -> str:
    tokens = sum(count or 0 for count in (cost.get("tokens_trained") or {}).values())
    seconds = sum(count or 0 for count in (cost.get("seconds") or {}).values())
    parts = [f"{write_count(tokens)} tokens trained"] if tokens else []
    parts += [format_seconds(seconds)] if seconds else []
    return " in ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
