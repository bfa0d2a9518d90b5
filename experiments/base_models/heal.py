"""Derive a smaller model from a kit model: prune depth or width, heal it, store the changes.

    python -m experiments.base_models.heal experiments/base_models/smollm2-12blocks.yaml

The changes go to `meta_data/models/<name>` and take a tenth of the space of the model; `rankadaptor.load`
builds the model from them. On one thread the run is repeatable; an interrupted run continues.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from peft.tuners.lora import LoraLayer

import rankadaptor as ra
from rankadaptor.components.adapter.lora import attach_adapter, detach_adapter
from rankadaptor.data import load_rows, tokenise_rows
from rankadaptor.data.row import Row
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import write_json
from rankadaptor.pruning.calibration import make_calibration
from rankadaptor.pruning.depth import count_block_parameters, score_blocks, select_blocks
from rankadaptor.pruning.derived_models import cut_model, merge_healing, write_derived_model
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.importance import score_groups
from rankadaptor.pruning.selection import select_groups
from rankadaptor.runtime import choose_compute, find_commit
from rankadaptor.training import fine_tune

logger = logging.getLogger(__name__)
MODELS = Path(__file__).parents[2] / "meta_data" / "models"
PREFIX = "base_model.model."
FOLLOWED = 32  # held-out sequences during training


def main() -> None:
    """Read the YAML file, prune, heal, write, and measure the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    given = yaml.safe_load(parser.parse_args().file.read_text())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    compute = choose_compute(device="cpu", dtype="float32", threads=1)
    model, tokenizer = ra.load(given["base"], compute=compute)
    recipe = ra.Recipe(reference_rank=given["rank"], **given["recipe"])
    length = recipe.sequence_length
    train = tokenise_rows(read_texts(given["text"]), tokenizer, max_length=length, pack=True)
    scored = tokenise_rows(read_texts([given["held_out"]]), tokenizer, max_length=length, pack=True)
    losses = {"dense": measure_loss(model, scored, compute=compute).mean}
    cut = plan_cut(model, tokenizer, given["cut"])
    cut_model(model, **cut)
    losses["pruned"] = measure_loss(model, scored, compute=compute).mean
    logger.info("%d parameters; held-out losses %s", model.num_parameters(), losses)

    space = ra.RankSpace.from_model(model, like_uniform=given["rank"], slots="linear")
    adapted = attach_adapter(model, space.reference(), recipe, seed=given["seed"])
    result = fine_tune(
        adapted,
        train,
        recipe=recipe,
        steps=recipe.steps,
        seed=given["seed"],
        compute=compute,
        held_out=scored[:FOLLOWED],
        evaluate_every=max(recipe.steps // 8, 1),
        checkpoint=Path("runs/base_models") / given["name"],
    )
    healing = extract_healing(adapted)
    model = detach_adapter(adapted)
    merge_healing(model, healing)
    folder = MODELS / given["name"]
    write_derived_model(folder, model, name=given["name"], base=given["base"], healing=healing, **cut)
    built, _ = ra.load(folder, compute=compute)
    losses["healed"] = measure_loss(built, scored, compute=compute).mean
    logger.info("held-out losses %s", losses)
    write_json(
        folder / "training.json",
        {
            "run": given,
            "parameters": built.num_parameters(),
            "tokens": result.tokens,
            "losses": losses,
            "curve": [{"step": p.step, "tokens": p.tokens, "loss": p.loss} for p in result.curve],
            "seconds": result.seconds,
            "commit": find_commit(),
        },
    )


def read_texts(parts: list[dict[str, Any]]) -> list[Row]:
    """Read sources as plain text."""
    rows = [
        row
        for part in parts
        for row in load_rows(part["source"], limit=part.get("limit"), skip=part.get("skip", 0), seed=0)
    ]
    return [Row(prompt="", response=row.prompt + row.response) for row in rows]


def plan_cut(model: Any, tokenizer: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Choose what to remove, as `prune` does, as arguments of `cut_model`."""
    calibration = given["calibration"]
    sequences = make_calibration(
        calibration["source"],
        tokenizer,
        examples=calibration["examples"],
        length=calibration["length"],
        seed=0,
    )
    importance, ratio = given["importance"], given["ratio"]
    if given["targets"] == ["blocks"]:
        scores = score_blocks(model, importance=importance, sequences=sequences)
        sizes = count_block_parameters(model)
        return {"removed_blocks": select_blocks(scores, sizes, ratio=ratio, searched=range(len(sizes)))}
    groups = find_groups(model, targets=given["targets"])
    removed = select_groups(
        groups,
        score_groups(model, groups, importance=importance, sequences=sequences),
        ratio=ratio,
        scope=given["scope"],
    )
    return {
        "removed_groups": {
            f"{group.block}.{group.target}": indices
            for group, indices in zip(groups, removed, strict=True)
            if indices
        }
    }


def extract_healing(adapted: Any) -> dict[str, torch.Tensor]:
    """Read the trained updates, rounded as they are stored."""
    healing = {}
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            name = name.removeprefix(PREFIX)
            healing[f"{name}.a"] = module.lora_A["default"].weight.detach().to(torch.bfloat16)
            scale = module.scaling["default"]
            healing[f"{name}.b"] = (scale * module.lora_B["default"].weight.detach()).to(torch.bfloat16)
    return healing


if __name__ == "__main__":
    main()
