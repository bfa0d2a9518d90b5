"""The model card of an adapter that was saved from Python; a run replaces it by a card with its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from rankadaptor.methods import LORA, METHODS
from rankadaptor.model.identity import ADAPTER_PARTS

CARD = "README.md"
MARK = "<!-- written by rankadaptor with the adapter; a card without this line is kept -->"
PEFT_TEMPLATE = "# Model Card for Model ID"
PLACEHOLDER = "path/to/the/base/model"


class Described(Protocol):
    """Anything with a one-sentence description, such as a `Verdict`."""

    def describe(self) -> str:
        """Return the sentence."""


def is_replaceable(path: Path) -> bool:
    """Return whether a card may be written: there is none, or this package or PEFT wrote it."""
    if not path.is_file():
        return True
    text = path.read_text(encoding="utf-8", errors="replace")
    return MARK in text or PEFT_TEMPLATE in text


def render_adapter_card(peft_model: Any, *, base: dict[str, Any], verdict: Described | None) -> str:
    """Render the card of a PEFT adapter as Markdown with a YAML header.

    Args:
        peft_model: The model with the adapter.
        base: `name` (a folder, a hub id, or None), `digest` and `precision` of the weights it was trained on.
        verdict: Verdict on its ranks, or None.
    """
    import yaml

    config = peft_model.peft_config[peft_model.active_adapter]
    method = METHODS[name_method(config)]
    parameters = sum(
        value.numel()
        for name, value in peft_model.named_parameters()
        if any(part in name for part in (*ADAPTER_PARTS, "prompt_encoder.")) and ".ranknum." not in name
    )
    name = base["name"]
    hub = name if name and not Path(name).is_absolute() else None
    header = {
        "library_name": "peft",
        **({"base_model": hub} if hub else {}),
        "base_model_relation": "adapter",
        "pipeline_tag": "text-generation",
        "tags": [method.name, "peft", *(["rank-allocation"] if method.ranks else []), "rankadaptor"],
    }
    called = f" (`{hub or Path(name).name}`)" if name else ""
    where = f'"{hub or Path(name).name}"' if name else f'"{PLACEHOLDER}"'
    uneven = bool(getattr(peft_model.get_base_model().config, "is_heterogeneous", False))
    argument = ", trust_remote_code=True" if uneven else ""
    trust = (
        "\n\n`trust_remote_code` runs the modelling file beside the base model's weights, which builds "
        "blocks that its configuration class alone does not describe."
        if uneven
        else ""
    )
    steps = getattr(peft_model, "steps_trained", None)
    trained = f", trained for {steps} optimiser steps" if steps else ""
    judged = "not measured" if verdict is None else verdict.describe()
    compared = f"Layer-wise ranks against uniform ranks: {judged}\n\n" if method.ranks else ""
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{MARK}\n\n"
        f"# {method.title} adapter\n\n"
        f"{parameters:,} parameters{_describe_extent(config)}{trained}.\n\n"
        f"It belongs to the weights with the digest `{base['digest']}` ({base['precision']}){called} and "
        "does not work on a model with other weights, even if the shapes fit. `rankadaptor.load_adapter` "
        "compares the digest; plain PEFT compares only shapes.\n\n"
        f"{compared}"
        "## Load it\n\n"
        "```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({where}{argument})\n"
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")\n'
        f"```{trust}\n\n"
        "It inherits the terms of its base model and of its training data.\n"
    )


def name_method(config: Any) -> str:
    """Return the name of the method that a PEFT configuration belongs to."""
    kind = str(config.peft_type.value).lower()
    if kind != LORA:
        return kind
    return "dora" if config.use_dora else "rslora" if config.use_rslora else LORA


def _describe_extent(config: Any) -> str:
    if config.is_prompt_learning:
        return f" in {config.num_virtual_tokens} virtual tokens"
    on = f" on {len(config.target_modules)} linears"
    if not hasattr(config, "r"):
        return on
    pattern = dict(config.rank_pattern or {})
    counts = {sum(rank) if isinstance(rank, list) else rank for rank in pattern.values()}
    ranks = sorted(counts or {config.r})
    spread = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    return f"{on}, {spread}"
