"""The model card of an adapter: description, verdict on its ranks, and how to load it with plain PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.files import write_text
from rankadaptor.progress import format_seconds
from rankadaptor.results import Document, Table, explain_outcome
from rankadaptor.results.details import build_environment_table, build_rank_table, build_recipe_table
from rankadaptor.results.document import check_schema
from rankadaptor.results.lengths import find_lengths
from rankadaptor.results.overview import build_overview_table
from rankadaptor.results.scores import build_accuracy_table, build_loss_table
from rankadaptor.results.table import ABSENT, write_count, write_loss
from rankadaptor.results.usage import explain_quantised, write_loading_code, write_merging_code

CARD = "README.md"


def write_card(folder: str | Path, document: Document, *, adapter: str | None = None) -> Path:
    """Write `README.md` beside an adapter, in place of PEFT's empty template.

    Args:
        folder: The adapter's folder.
        document: The whole result document of its run.
        adapter: Which recovered allocation it is; the folder's name by default.

    Returns:
        The card.

    Raises:
        InputError: If the folder does not exist, or the run recovered no allocation of that name.
        StorageError: If the card cannot be written.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place}: no such folder. Save the adapter there first with save_pretrained.")
    target = place / CARD
    write_text(target, render_card(document, adapter=adapter or place.resolve().name))
    return target


def render_card(document: Document, *, adapter: str) -> str:
    """Render the model card of one recovered adapter as Markdown with a YAML header.

    Raises:
        InputError: If the run recovered no allocation of that name.
    """
    check_schema(document)
    result: dict[str, Any] = document["result"]
    recovered: dict[str, Any] = result.get("recovered") or {}
    if adapter not in recovered:
        raise InputError(
            f"adapter={adapter!r}: the run recovered {', '.join(recovered) or 'none'}. "
            "Give one of these as adapter=NAME."
        )
    run: dict[str, Any] = document.get("run") or {}
    values = _find_values(result, adapter)
    sections = [
        _render_header(run, result),
        _render_opening(document, adapter),
        _render_verdict(document),
        _render_loading(adapter, values, note=explain_quantised(document)),
        _render_quality(document),
        _render_ranks(document, adapter, values),
        _render_making(document),
        _render_licence(run),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _render_header(run: dict[str, Any], result: dict[str, Any]) -> str:
    import yaml

    config = run.get("config") or {}
    model = config.get("model")
    header: dict[str, Any] = {"library_name": "peft"}
    # The base is named only by a hub id: the adapter does not fit the dense model.
    cut = bool(config.get("prune")) and bool((result.get("pruning") or {}).get("achieved_ratio"))
    if not cut and model and "/" in model and not Path(model).exists():
        header["base_model"] = model
        header["base_model_relation"] = "adapter"
    header["pipeline_tag"] = "text-generation"
    header["tags"] = ["lora", "peft", "pruning", "rank-allocation", "rankadaptor"]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _render_opening(document: Document, adapter: str) -> str:
    run, result = document.get("run") or {}, document["result"]
    outcome = explain_outcome(document)
    entry = result["recovered"][adapter]
    budget = _describe_budget(result.get("space") or {})
    model = (run.get("config") or {}).get("model", "a language model")
    recommended = outcome.recommended
    steps = find_lengths(document).recovery
    length = f" after {write_count(steps)} steps" if steps else ""
    mark = "**This is the adapter that the run recommends.**" if adapter == recommended else (
        f"**The run recommends the adapter `{recommended}` instead.**"
    )  # fmt: skip
    return (
        f"# LoRA adapter `{adapter}` of run “{run.get('name', 'unnamed')}”\n\n"
        f"{_describe_pruning(model, result.get('pruning') or {})} It has "
        f"{write_count(entry.get('parameters'))} parameters{budget}, and "
        f"brings the held-out loss to {write_loss(entry.get('loss'))} nats per token{length}.\n\n{mark}"
    )


def _describe_pruning(model: str, pruning: dict[str, Any]) -> str:
    achieved = pruning.get("achieved_ratio")
    if not achieved:
        return f"This LoRA adapter was trained for `{model}`."
    parts = {"heads": "attention heads", "channels": "MLP channels", "blocks": "blocks"}
    targets = [parts[each] for each in pruning.get("settings", {}).get("targets", ()) if each in parts]
    what = f": whole {' and '.join(targets)}" if targets else ""
    return (
        f"`{model}` was pruned structurally ({100 * achieved:.1f} % of its parameters removed{what}), and "
        "this LoRA adapter recovers it."
    )


def _describe_budget(space: dict[str, Any]) -> str:
    budget, of = space.get("budget"), "summed ranks" if space.get("mode") == "rank_sum" else "parameters"
    return "" if budget is None else f", within the budget of {write_count(budget)} {of} for every allocation"


def _render_verdict(document: Document) -> str:
    outcome = explain_outcome(document)
    text = f"**{outcome.headline}.** {outcome.advice} {' '.join(outcome.sentences)}"
    return f"## Did layer-wise ranks help?\n\n{text}"


def _render_loading(adapter: str, values: list[int] | None, *, note: str) -> str:
    serving = ""
    if values:
        serving = (
            f"\n\nThe largest rank is {max(values)}. vLLM must be told so with `--max-lora-rank` (default "
            "16; take the next size that it accepts). Once merged, ranks no longer matter for serving."
        )
    return (
        "## Load it\n\n"
        "It is a plain PEFT adapter for the *pruned* model in the run's folder `pruned/`; the unpruned model "
        "has other shapes and does not fit. RankAdaptor is not needed:\n\n"
        f"```python\n{write_loading_code(adapter)}```\n\n"
        "`trust_remote_code` lets transformers run the modelling file beside the weights, which builds "
        "blocks of different widths, or of a number of heads that the model's configuration class refuses. A "
        "model without such a file loads without it.\n\n"
        "To merge the adapter into the model:\n\n"
        f"```python\n{write_merging_code()}```" + (f"\n\n{note}" if note else "") + serving
    )


def _render_quality(document: Document) -> str:
    parts = ["## Quality"]
    for build in (build_loss_table, build_accuracy_table):
        try:
            parts += [f"### {build(document).title}", build(document).to_markdown().strip()]
        except InputError as error:
            parts.append(str(error))
    return "\n\n".join(parts)


def _render_ranks(document: Document, adapter: str, values: list[int] | None) -> str:
    if values is None:
        return ""
    try:
        table = build_rank_table(document, values=values)
    except InputError as error:
        return f"## Ranks\n\n{error}"
    if len({*values}) == 1:
        return f"## Ranks\n\nThe same rank everywhere: {values[0]}."
    note = " Rank 0 means that a linear carries no adapter." if 0 in values else ""
    return f"## Ranks\n\nOne rank per slot of `{adapter}`.{note}\n\n{table.to_markdown().strip()}"


def _render_making(document: Document) -> str:
    run, result = document.get("run") or {}, document["result"]
    environment = document.get("environment") or {}
    commit = run.get("commit")
    code = f"rankadaptor {environment['rankadaptor']}" if environment.get("rankadaptor") else "rankadaptor"
    code += f", commit `{commit}`" if commit not in (None, "unknown") else ""
    seconds = run.get("seconds")
    parts = ["## How it was made"]
    try:
        parts.append(build_overview_table(document).to_markdown().strip())
    except InputError as error:
        parts.append(str(error))
    parts.append(
        f"- Seed {run.get('seed', ABSENT)}, run `{run.get('digest', ABSENT)}`, {code}"
        + (f", {format_seconds(seconds)} in the last start" if seconds is not None else "")
        + "\n- Every allocation was trained with the same recipe, data order and initialisation."
    )
    if result.get("recipe"):
        parts.append(_fold("Recipe", build_recipe_table(document)))
    if environment:
        parts.append(_fold("Versions and machine", build_environment_table(document)))
    return "\n\n".join(parts)


def _fold(summary: str, table: Table) -> str:
    return f"<details><summary>{summary}</summary>\n\n{table.to_markdown().strip()}\n\n</details>"


def _render_licence(run: dict[str, Any]) -> str:
    config = run.get("config") or {}
    sources = [config.get("model"), (config.get("data") or {}).get("train")]
    named = " and ".join(f"`{source}`" for source in sources if source)
    text = "## Licence\n\nThe adapter inherits the terms of its base model and of its training data"
    text += f" ({named})." if named else "."
    if any(str(source).startswith("kit:alpaca") for source in sources):
        text += (
            " Alpaca's rows are CC BY-NC 4.0 upstream: treat an adapter trained on them as for research only."
        )
    return text + " RankAdaptor itself, Apache-2.0, claims no right in it."


def _find_values(result: dict[str, Any], adapter: str) -> list[int] | None:
    """Return one rank per slot of a recovered allocation."""
    known = {
        "uniform": (result.get("space") or {}).get("reference"),
        "searched": (result.get("verdict") or {}).get("candidate")
        or (result.get("search") or {}).get("best"),
    }
    values = result["recovered"][adapter].get("values") or known.get(adapter)
    return None if not values else [int(value) for value in values]
