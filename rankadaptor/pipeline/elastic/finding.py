"""Training the super-network, and finding an allocation of it by each method."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from rankadaptor.components.adapter.tuners.merging import merge_trained
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.corpus.record import KL
from rankadaptor.errors import NonFiniteError
from rankadaptor.measure import SliceScore
from rankadaptor.methods import LORA, find_method
from rankadaptor.model import save_pruned
from rankadaptor.pipeline.elastic.setting import ElasticSetting
from rankadaptor.pipeline.text_jobs.score_log import Follow
from rankadaptor.pipeline.text_jobs.texts import SEARCH, TRAINING
from rankadaptor.predictor import make_predictor
from rankadaptor.search import Search
from rankadaptor.search.measured_front import evolve_measured
from rankadaptor.search.predicted_front import evolve_predicted
from rankadaptor.search.refinement import Refinement
from rankadaptor.space import Allocation
from rankadaptor.supernet import SuperNetwork
from rankadaptor.supernet.storage import Trained, load_super_network, save_super_network
from rankadaptor.supernet.training import train_super_network

logger = logging.getLogger(__name__)

SUPER_NETWORK, CHECKPOINT = "super_network", "super_network_training"
RECORDS_FILE = "records.jsonl"
MODEL_FOLDER, ADAPTER_FOLDER = "model", "adapter"
CHECKPOINT_EVERY = 10

Measure = Callable[[Sequence[Allocation]], list[Record]]


def train(setting: ElasticSetting) -> dict[str, Any]:
    """Train the super-network and keep it in the run's folder.

    Returns:
        `losses` of each step (nats per token, of the first allocation of the step), `tokens`, `slices`.
    """
    given, folder = setting.config.train, setting.folder.path
    network = open_network(setting)
    with network:
        result = train_super_network(
            network,
            setting.texts[TRAINING],
            steps=given.steps,
            compute=setting.compute,
            rule=given.rule,
            distilled=given.distilled,
            balanced=given.balanced,
            dropped=setting.config.choices.dropped,
            checkpoint=folder / CHECKPOINT,
            checkpoint_every=CHECKPOINT_EVERY,
        )
        trained = Trained(given.steps, given.rule, result.tokens, result.seconds)
        save_super_network(network, folder / SUPER_NETWORK, trained=trained)
    return {"losses": list(result.losses), "tokens": result.tokens, "trained_seconds": result.seconds}


def open_network(setting: ElasticSetting) -> SuperNetwork:
    """Open the super-network of a run as it is before training."""
    setting.compute.apply()
    return SuperNetwork(
        setting.model,
        setting.space,
        setting.recipe,
        seed=setting.config.seed,
        importance=setting.config.choices.importance,
        sequences=setting.make_calibration(),
        types=setting.types,
    )


def search(setting: ElasticSetting, *, follow: Follow) -> dict[str, Any]:
    """Find an allocation by each method, and save the best one as a model of its own.

    All methods see the loss of the super-network's slices on the search text and keep the same limit.

    Returns:
        `methods` (name, choices, values, loss, evaluations, tokens and seconds of each), `best`, `limit`.
    """
    config, found = setting.config, []
    with load_super_network(setting.model, setting.folder.path / SUPER_NETWORK) as network:
        score = SliceScore(
            network,
            setting.texts[SEARCH],
            compute=setting.compute,
            records=RecordFile(setting.folder.path / RECORDS_FILE),
        )
        for name in config.search.methods:
            started = time.monotonic()
            records = run_method(name, setting, make_measure(score, follow=follow))
            best = min(list_sound(records, setting), key=lambda record: record.metrics["loss"])
            allocation = setting.limited.allocation(best.values)
            logger.info("%s: loss %.4f after %d evaluations", name, best.metrics["loss"], len(records))
            found.append(
                {
                    "name": name,
                    "choices": list(allocation.choices),
                    "slots": allocation.to_json()["slots"],
                    "loss": best.metrics["loss"],
                    "costs": {name: allocation.cost(name) for name in list_resources(allocation)},
                    "evaluations": len(records),
                    "tokens": sum(record.tokens for record in records),
                    "seconds": time.monotonic() - started,
                }
            )
        chosen = min(found, key=lambda each: each["loss"])
        extracted = network.extract(setting.limited.from_choices(chosen["choices"])).model
    save_result(setting, extracted)
    limit = setting.limited.limits[0]
    return {
        "methods": found,
        "best": chosen["name"],
        "limit": {"resource": limit.resource, "bound": limit.bound},
        "tokens": sum(each["tokens"] for each in found),
    }


def save_result(setting: ElasticSetting, model: Any) -> None:
    """Save what was found: merged, or as a sparse model and an adapter that would fill its zeros."""
    if setting.config.choices.sparsity and not setting.types and hasattr(model, "merge_and_unload"):
        model.save_pretrained(str(setting.folder.path / ADAPTER_FOLDER))
        model = model.unload()
    save_pruned(merge_slice(model), setting.tokenizer, setting.folder.path / MODEL_FOLDER)


def merge_slice(model: Any) -> Any:
    """Return an extracted slice without its adapter, merged in float32; it is used up."""
    return merge_trained(model, find_method(LORA)) if hasattr(model, "merge_and_unload") else model


def run_method(name: str, setting: ElasticSetting, measure: Measure) -> list[Record]:
    """Measure what a method asks for and return the records."""
    given, space = setting.config.search, setting.limited
    if name == "heuristic":
        return measure([setting.heuristic])
    if name == "nsga2":
        return evolve_measured(
            space, measure, evaluations=given.evaluations, seed=setting.config.seed, start=[setting.heuristic]
        )
    if name == "linas":
        return evolve_predicted(
            space,
            measure,
            make_predictor("ridge"),
            evaluations=given.evaluations,
            seed=setting.config.seed,
            start=[setting.heuristic],
        )
    climb = Search(
        space,
        make_predictor("ridge"),
        seed=setting.config.seed,
        initial=0,
        refinement=Refinement(starts=(setting.heuristic,), blind=True),
    )
    climb.run_batches(measure, evaluations=given.evaluations)
    return list(climb.records)


def make_measure(score: SliceScore, *, follow: Follow) -> Measure:
    """Return a measure of the loss on the text.

    The divergence from the dense model is left out: a super-network is trained to its text, and the dense
    model is not what it should agree with.
    """

    def measure(allocations: Sequence[Allocation]) -> list[Record]:
        records = [
            dataclasses.replace(
                record, metrics={name: value for name, value in record.metrics.items() if name != KL}
            )
            for record in score.measure(list(allocations))
        ]
        follow(records)
        return records

    return measure


def list_sound(records: Sequence[Record], setting: ElasticSetting) -> list[Record]:
    """Return the records of a method that keep the limit and did not fail.

    Raises:
        NonFiniteError: If there is none.
    """
    sound = [each for each in records if each.status == "ok" and setting.limited.contains(each.values)]
    if not sound:
        errors = sorted({str(record.error) for record in records})
        raise NonFiniteError(f"No allocation has a finite loss: {'; '.join(errors[:2])}. Lower the rate.")
    return sound


def list_resources(allocation: Allocation) -> list[str]:
    """Return what an allocation costs, by name."""
    return list(dict.fromkeys(name for slot in allocation.space.slots for name in slot.resources))
