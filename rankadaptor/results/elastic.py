"""What an elastic job came to: headline, sentences and tables, made from its result document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankadaptor.progress import format_seconds
from rankadaptor.results.document import Document, get_part
from rankadaptor.results.table import ABSENT, Table, write_count, write_gain, write_interval, write_loss

METHODS = {
    "heuristic": "middle of every slot",
    "hill_climbing": "hill climbing",
    "nsga2": "NSGA-II",
    "linas": "predictor-assisted NSGA-II",
}
REFERENCES = {
    "dense": "whole model, not trained",
    "lora": "whole model with a fixed-rank adapter",
    "alone": "the result's allocation, trained by itself",
    "unmerged": "rounded model with a fixed-rank adapter beside it",
}
NAMES = METHODS | REFERENCES
SPEEDS = {"prompt_tokens_per_second": "prompts", "generate_tokens_per_second": "generation"}
TEXTS = {"judging": "judging text", "other": "text of another domain"}


def explain_elastic(document: Document) -> tuple[str, str, list[str]]:
    """Return the verdict's word, a headline that says what was gained, and what it rests on."""
    points = {point["name"]: point for point in get_points(document)}
    result = document["result"]
    ours, dense = points[result["best"]], points["dense"]
    speed = result["speed"]["result"] / result["speed"]["dense"]
    share = ours["parameters"] / dense["parameters"]
    headline = f"{share:.0%} of the parameters, prompts × {speed:.2f} as fast"
    against = "lora" if "lora" in points else "dense"
    others = [name for name in points if name != result["best"]]
    judged = {name: describe_difference(result["verdicts"][name]) for name in others}
    headline += f". {judged[against]} {NAMES[against]}."
    sentences = [f"Found by: {NAMES[result['best']]}."]
    sentences += [f"{words} {NAMES[name]}: {_write_gains(result, name)}." for name, words in judged.items()]
    if delivered := result.get("file"):
        sentences.append(_describe_file(delivered))
    outcomes = {entry["outcome"] for entry in result["verdicts"][against].values()}
    word = next(iter(outcomes)) if len(outcomes) == 1 else "no difference"
    return word, headline, sentences


def describe_difference(verdict: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a verdict over all texts in two words; it is one only where all texts agree."""
    outcomes = {entry["outcome"] for entry in verdict.values()}
    if len(outcomes) != 1:
        return "No difference on all texts from"
    return {"better": "Better than", "worse": "Worse than"}.get(outcomes.pop(), "No difference from")


def get_points(document: Document) -> list[Mapping[str, Any]]:
    """Return what was measured, methods first."""
    missing = "The run has measured nothing yet."
    points: list[Mapping[str, Any]] = get_part(document, "points", sentence=missing)
    return points


def build_elastic_points(document: Document) -> Table:
    """Build the table of everything that was measured on the judging texts."""
    points = get_points(document)
    parts = list(points[0]["losses"])
    verdicts, best = document["result"]["verdicts"], document["result"]["best"]
    rows = []
    for point in points:
        verdict = verdicts.get(point["name"])
        gains = [_write_gain_of(verdict[part]) if verdict else ABSENT for part in parts]
        rows.append(
            (
                f"{NAMES[point['name']]}{' *' if point['name'] == best else ''}",
                write_count(point["parameters"]),
                write_count(point["macs"]),
                *(write_loss(point["losses"][part]) for part in parts),
                *gains,
                write_count(point["tokens"]),
            )
        )
    return Table(
        "points",
        "Loss of every result and reference (nats per token)",
        (
            "what", "parameters", "MACs", *(f"loss, {TEXTS[part]}" for part in parts),
            *(f"result's gain, {TEXTS[part]}" for part in parts), "tokens trained",
        ),
        tuple(rows),
        "* the result. Gains are the loss of the row less that of the result, with 95 % intervals over "
        "sequences; positive is better. MACs are those of 64 tokens.",
    )  # fmt: skip


def build_methods_table(document: Document) -> Table:
    """Build the table of the search methods."""
    methods = get_part(document, "search", "methods", sentence="The run has not searched yet.")
    rows = tuple(
        (
            NAMES[each["name"]],
            write_loss(each["loss"]),
            write_count(each["costs"].get("parameters")),
            write_count(each["costs"].get("adapter_parameters")),
            write_count(each["evaluations"]),
            write_count(each["tokens"]),
            format_seconds(each["seconds"]),
        )
        for each in methods
    )
    return Table(
        "methods",
        "Methods of the search, on the search text",
        ("method", "loss", "parameters", "adapter parameters", "evaluations", "tokens scored", "time"),
        rows,
        "Adapter parameters are counted at whole widths. Scores of one run are shared by its methods.",
    )


def build_elastic_layers(document: Document) -> Table:
    """Build the table of what the result chose for every block."""
    search = get_part(document, "search", sentence="The run has not searched yet.")
    best = next(each for each in search["methods"] if each["name"] == search["best"])
    blocks: dict[int, dict[str, str]] = {}
    for name, label in best["slots"].items():
        block, _, what = name.partition(".")
        if block.startswith("block") and what:
            value = label[0] if isinstance(label, list) else label
            blocks.setdefault(int(block.removeprefix("block")), {})[what] = str(value)
    columns = list(dict.fromkeys(what for each in blocks.values() for what in each))
    rows = tuple(
        (str(block), *(each.get(what, ABSENT) for what in columns)) for block, each in sorted(blocks.items())
    )
    return Table(
        "layers",
        "What the result has in every block",
        ("block", *columns),
        rows,
        "KV groups of the attention, channels of the MLP, ranks of the adapters.",
    )


def build_elastic_effort(document: Document) -> Table:
    """Build the table of what the steps cost."""
    cost = get_part(document, "cost", sentence="The run is not finished.")
    tokens = {**cost["tokens_trained"], "search": cost["tokens_scored"]}
    rows = tuple(
        (name, write_count(tokens.get(name)), format_seconds(seconds))
        for name, seconds in cost["seconds"].items()
    )
    return Table("effort", "Tokens trained or scored, and time", ("step", "tokens", "time"), rows)


def _write_gains(result: Mapping[str, Any], name: str) -> str:
    return ", ".join(
        f"{_write_gain_of(entry)} on the {TEXTS[part]}" for part, entry in result["verdicts"][name].items()
    )


def _write_gain_of(entry: Mapping[str, Any]) -> str:
    return f"{write_gain(entry['gain'])} ({write_interval(entry['low'], entry['high'])})"


def _describe_file(delivered: Mapping[str, Any]) -> str:
    dense, ours = delivered["speeds"]["dense"], delivered["speeds"]["result"]
    ratios = [f"{word} × {ours[name] / dense[name]:.2f}" for name, word in SPEEDS.items()]
    losses = ", ".join(
        f"{write_loss(loss)} on the {TEXTS[part]}" for part, loss in delivered["losses"].items()
    )
    return (
        f"As a file: {delivered['bytes'] / 1e6:.1f} MB, the whole model in {delivered['type']} has "
        f"{delivered['dense_bytes'] / 1e6:.1f} MB; {' and '.join(ratios)} as fast on the engine; loss "
        f"{losses}."
    )
