"""A run as Markdown blocks, for the README and the documents."""

from __future__ import annotations

from rankadaptor.errors import InputError
from rankadaptor.results import Document, explain_outcome
from rankadaptor.results.choice import build_choice_table
from rankadaptor.results.details import (
    build_block_table,
    build_cost_table,
    build_environment_table,
    build_pruning_table,
    build_rank_table,
    build_recipe_table,
    build_search_table,
    build_tuning_table,
)
from rankadaptor.results.overview import build_overview_table
from rankadaptor.results.scores import build_accuracy_table, build_difference_table, build_loss_table

BUILDERS = {
    "overview": build_overview_table,
    "losses": build_loss_table,
    "accuracy": build_accuracy_table,
    "differences": build_difference_table,
    "pruning": build_pruning_table,
    "blocks": build_block_table,
    "ranks": build_rank_table,
    "recipe": build_recipe_table,
    "tuning": build_tuning_table,
    "choice": build_choice_table,
    "search": build_search_table,
    "cost": build_cost_table,
    "environment": build_environment_table,
}


def render_markdown(document: Document) -> dict[str, str]:
    """Render every table and the verdict of a run as Markdown.

    Returns:
        One text per block: `verdict`, every table by its name (`overview`, `losses`, `accuracy`,
        `differences`, `pruning`, `blocks`, `ranks`, `recipe`, `tuning`, `choice`, `search`, `cost`,
        `environment`),
        and `results`, which is verdict, losses, accuracies and paired differences one after another. A table
        without data is one sentence that says so.
    """
    blocks = {"verdict": _render_verdict(document)}
    for name, build in BUILDERS.items():
        try:
            blocks[name] = build(document).to_markdown()
        except InputError as error:
            blocks[name] = f"{error}\n"
    blocks["results"] = "\n".join(blocks[name] for name in ("verdict", "losses", "accuracy", "differences"))
    return blocks


def _render_verdict(document: Document) -> str:
    outcome = explain_outcome(document)
    return f"**{outcome.headline}.** {outcome.advice} {' '.join(outcome.sentences)}\n"
