"""References with as much training, and the verdict on the judging texts."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rankadaptor.components.adapter import ADAPTER_PARAMETERS
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import describe_model
from rankadaptor.pipeline.compression.recovering import recover_merged
from rankadaptor.pipeline.compression.rounding import round_weights
from rankadaptor.pipeline.elastic.finding import SUPER_NETWORK, merge_slice, open_network
from rankadaptor.pipeline.elastic.setting import ElasticSetting
from rankadaptor.pipeline.text_jobs.preparation import measure_losses
from rankadaptor.pipeline.text_jobs.texts import SEARCH, TRAINING
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.final import train_adapter
from rankadaptor.supernet.storage import load_super_network
from rankadaptor.training.shared_weights import share_weights
from rankadaptor.verdict import judge_gains

logger = logging.getLogger(__name__)

LORA, ALONE, UNMERGED, DENSE = "lora", "alone", "unmerged", "dense"
ROUNDS, TIMED_TOKENS = 5, 256
REFERENCES = "references"


def train_references(setting: ElasticSetting, searched: Mapping[str, Any]) -> dict[str, Any]:
    """Train and measure what the result is compared with, on as many tokens as the super-network.

    Returns:
        `points`, with losses of every judging sequence, and `tokens`.
    """
    points = [measure_point(setting, DENSE, setting.model, tokens=0)]
    points += [train_reference(setting, name, searched) for name in setting.config.references]
    tokens = sum(point["tokens"] * len(point.get("rates", ())) for point in points)
    return {"points": points, "tokens": tokens}


def train_reference(setting: ElasticSetting, name: str, searched: Mapping[str, Any]) -> dict[str, Any]:
    """Train a reference at every rate, keep the one that is best on the search text, and measure it."""
    best, losses = None, {}
    for rate in setting.reference_rates:
        if name == ALONE:
            model = extract_untrained(setting, find_best(searched)["choices"])
        else:
            model = share_weights(setting.model)
        recipe = setting.recipe.replace(learning_rate=rate)
        train = train_unmerged if name == UNMERGED else train_merged
        checkpoint = setting.folder.path / REFERENCES / f"{name}-{rate:g}"
        model, count = train(setting, model, recipe, checkpoint=checkpoint)
        losses[rate] = measure_loss(model, setting.texts[SEARCH], compute=setting.compute).mean
        logger.info("%s at rate %g: loss %.4f on the search text", name, rate, losses[rate])
        if best is None or losses[rate] < losses[best[0]]:
            best = (rate, model, count)
    assert best is not None  # there is at least one rate
    rates = {str(rate): loss for rate, loss in losses.items()}
    return measure_point(setting, name, best[1], tokens=best[2]) | {"rate": best[0], "rates": rates}


def train_merged(setting: ElasticSetting, model: Any, recipe: Recipe, *, checkpoint: Path) -> tuple[Any, int]:
    """Train an adapter of the largest rank, merge it, and return the model and the tokens trained on."""
    recovered = recover_merged(
        model,
        recipe,
        sequences=setting.texts[TRAINING],
        steps=setting.reference_steps,
        seed=setting.config.seed,
        compute=setting.compute,
        checkpoint=checkpoint,
        types=setting.types or None,
    )
    return recovered.model, recovered.tokens


def train_unmerged(
    setting: ElasticSetting, model: Any, recipe: Recipe, *, checkpoint: Path
) -> tuple[Any, int]:
    """Round the model, train an adapter of the largest rank beside it, and leave it there [SQFT]_."""
    setting.compute.apply()
    trained, result = train_adapter(
        round_weights(model, setting.types),
        None,
        recipe,
        sequences=setting.texts[TRAINING],
        held_out=(),
        steps=setting.reference_steps,
        seed=setting.config.seed,
        compute=setting.compute,
        checkpoint=checkpoint,
    )
    return trained, result.tokens


def judge(
    setting: ElasticSetting, searched: Mapping[str, Any], references: Mapping[str, Any], *, tokens: int
) -> dict[str, Any]:
    """Measure what each method found on the judging texts and compare the best with the references.

    Returns:
        `points` (methods first), `verdicts` (by reference and text), `speed` (tokens per second of dense
        model and result, measured in turn).
    """
    points = []
    with load_super_network(setting.model, setting.folder.path / SUPER_NETWORK) as network:
        for method in searched["methods"]:
            allocation = setting.limited.from_choices(method["choices"])
            model = merge_slice(network.extract(allocation).model)
            point = measure_point(setting, method["name"], model, tokens=tokens)
            points.append({**point, ADAPTER_PARAMETERS: allocation.cost(ADAPTER_PARAMETERS)})
            if method["name"] == searched["best"]:
                best = model.to(setting.model.dtype)
    speed = time_models({DENSE: setting.model, "result": best}, vocabulary=setting.model.config.vocab_size)
    ours = next(point for point in points if point["name"] == searched["best"])
    others = [*(point for point in points if point is not ours), *references["points"]]
    verdicts = {
        other["name"]: {
            part: dataclasses.asdict(
                judge_gains(
                    [theirs - own for theirs, own in zip(other["sequences"][part], mine, strict=True)]
                )
            )
            for part, mine in ours["sequences"].items()
        }
        for other in others
    }
    kept = [
        {key: value for key, value in point.items() if key != "sequences"}
        for point in (*points, *references["points"])
    ]
    return {"points": kept, "verdicts": verdicts, "speed": speed, "best": searched["best"]}


def measure_point(setting: ElasticSetting, name: str, model: Any, *, tokens: int) -> dict[str, Any]:
    """Measure a model on the judging texts: losses in nats per token, its sizes."""
    losses = measure_losses(setting, name, model)
    facts = describe_model(model, repeats=0)
    return {
        "name": name,
        "parameters": facts["parameters"],
        "macs": facts["macs"],
        "losses": {part: loss.mean for part, loss in losses.items()},
        "sequences": {part: list(loss.per_sequence) for part, loss in losses.items()},
        "tokens": tokens,
    }


def extract_untrained(setting: ElasticSetting, choices: list[int]) -> Any:
    """Return an allocation as a smaller model that was not trained."""
    with open_network(setting) as network:
        extracted = network.extract(setting.limited.from_choices(choices)).model
    return extracted.unload() if hasattr(extracted, "unload") else extracted


def find_best(searched: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the best method found."""
    found: dict[str, Any] = next(each for each in searched["methods"] if each["name"] == searched["best"])
    return found


def time_models(models: Mapping[str, Any], *, vocabulary: int) -> dict[str, float]:
    """Return tokens per second of a prompt, the best of some rounds in turn, of each model."""
    tokens = torch.arange(TIMED_TOKENS)[None] % vocabulary
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, model in models.items():
            times[name].append(_time(model, tokens.to(next(model.parameters()).device)))
    return {name: TIMED_TOKENS / min(each[1:]) for name, each in times.items()}


def _time(model: Any, tokens: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        model(input_ids=tokens)
    return time.perf_counter() - started
