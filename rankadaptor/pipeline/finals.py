"""The last steps of a run: full fine-tunes and benchmarks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import count_parameters
from rankadaptor.components.adapter.lora import load_adapter
from rankadaptor.components.adapter.lora.folder import check_adapter
from rankadaptor.config import RunConfig
from rankadaptor.data import tokenise_rows
from rankadaptor.errors import CheckpointError
from rankadaptor.evaluation.benchmarks import Scores, compare_scores, evaluate
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import write_json
from rankadaptor.named_models import load
from rankadaptor.pipeline.execution import count_local_workers
from rankadaptor.pipeline.measurement import locate_elastic
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.pipeline.stored_files import check_dense
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.planning.folder_state import STEPS
from rankadaptor.progress import Progress
from rankadaptor.proxies.elastic import read_slice
from rankadaptor.recovery.final import train_adapter
from rankadaptor.recovery.teachers import find_teacher
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation, Values
from rankadaptor.training.process_group import ALONE, ProcessGroup
from rankadaptor.workers import run_side_by_side

logger = logging.getLogger(__name__)

OUTCOME = "outcome.json"
SAME = "same_as.json"
"""File in an adapter's folder that names another adapter with the same ranks, whose weights are used."""


def recover_all(
    folder: RunFolder,
    config: RunConfig,
    source: TrialSource,
    allocations: Mapping[str, Allocation],
    *,
    group: ProcessGroup = ALONE,
) -> dict[str, Any]:
    """Fine-tune every named allocation in full and save each as a plain PEFT adapter.

    A process group does one fine-tune after the other, each shared by all processes. A single process runs
    as many at the same time as the run file says.

    Returns:
        `adapters`: per name the held-out loss (nats per token), its curve, parameters, tokens, seconds.
    """
    given = config.recover
    # An allocation with two names (the search may choose uniform) is trained once, under its first name.
    owners: dict[Values, str] = {}
    for name, allocation in allocations.items():
        owners.setdefault(allocation.values, name)
    missing = [name for name in owners.values() if not (folder.adapter(name) / OUTCOME).exists()]
    jobs: list[dict[str, Any]] = [
        {
            "source": source,
            "values": allocations[name].values,
            "target": folder.adapter(name),
            "steps": given.steps,
            "seed": config.seed,
            "evaluate_every": given.evaluate_every,
            "patience": given.patience,
            "elastic": locate_elastic(folder) if config.measure.warm_start else None,
        }
        for name in missing
    ]
    if group.count > 1:
        finished: Iterable[tuple[int, dict[str, Any]]] = (
            (index, recover_one(**job, group=group)) for index, job in enumerate(jobs)
        )
    else:
        finished = run_side_by_side(recover_one, jobs, workers=count_local_workers(config))
    with Progress("recover", len(jobs), unit="models", interval=0.0) as progress:
        for index, outcome in finished:
            progress.advance(note=f"{missing[index]}: held-out loss {outcome['loss']:.4f}")
    for name, allocation in allocations.items():
        if owners[allocation.values] != name and group.leads:
            write_json(folder.adapter(name) / SAME, {"adapter": owners[allocation.values]})
    adapters = {}
    for name, allocation in allocations.items():
        place = folder.adapter(owners[allocation.values])
        adapters[name] = read_outcome(place)
        if tuple(adapters[name]["values"]) != allocation.values:
            raise CheckpointError(
                f"{place}: holds an adapter with other ranks than {name} has. Put each adapter back under "
                "its own name, or delete the folder and run the same command again: it is trained again."
            )
    return {"adapters": adapters}


def recover_one(
    *,
    source: TrialSource,
    values: Values,
    target: Path,
    steps: int,
    seed: int,
    evaluate_every: int | None,
    patience: int | None,
    elastic: Path | None = None,
    group: ProcessGroup = ALONE,
) -> dict[str, Any]:
    """Fine-tune one allocation in full, resuming from its checkpoint, and save the adapter to `target`.

    With the folder of an elastic adapter in `elastic`, it is initialised with the allocation's slice of it.
    In a process group the first process writes.
    """
    source.compute.apply()
    model, tokenizer = load(source.model, compute=source.compute)
    length = source.recipe.sequence_length
    train, held_out = (
        tokenise_rows(rows, tokenizer, max_length=length, model=model) for rows in source.split.load()
    )
    allocation = source.space.allocation(values)
    peft_model, trained = train_adapter(
        model,
        allocation,
        source.recipe,
        sequences=train,
        held_out=held_out,
        steps=steps,
        seed=seed,
        compute=source.compute,
        evaluate_every=evaluate_every,
        patience=patience,
        checkpoint=target / "checkpoint",
        start=None if elastic is None else read_slice(elastic, allocation, recipe=source.recipe),
        group=group,
        teacher=find_teacher(source.teacher, tokenizer, compute=source.compute),
    )
    if not group.leads:
        group.wait()
        return read_outcome(target)
    peft_model.save_pretrained(target)
    write_json(target / "allocation.json", allocation.to_json())
    outcome = {
        "values": list(values),
        "loss": measure_loss(peft_model, held_out, compute=source.compute).mean,
        "parameters": count_parameters(source.space, values),
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 2),
        "curve": [
            {"step": point.step, "tokens": point.tokens, "loss": point.loss} for point in trained.curve
        ],
    }
    if source.teacher is not None:
        outcome["teacher"] = {
            "tokens": trained.teacher_tokens,
            "seconds": round(trained.teacher_seconds, 2),
        }
    write_json(target / OUTCOME, outcome)
    group.wait()
    return outcome


def evaluate_models(folder: RunFolder, config: RunConfig, *, compute: Compute) -> dict[str, Any]:
    """Score the models that the run names on its benchmarks, on the same items.

    Returns:
        `benchmarks` per model and `differences` per pair, both empty where no benchmark is asked for.
    """
    given = config.evaluate
    if not given.benchmarks:
        return {"benchmarks": {}, "differences": {}}
    jobs = [
        {
            "name": name,
            "folder": folder,
            "dense": config.model,
            "benchmarks": list(given.benchmarks),
            "limit": given.limit,
            "compute": compute,
        }
        for name in given.models
    ]
    scores: dict[str, Scores] = {}
    with Progress("evaluate", len(jobs), unit="models", interval=0.0) as progress:
        for index, document in run_side_by_side(evaluate_one, jobs, workers=count_local_workers(config)):
            name = given.models[index]
            scores[name] = Scores.from_json(document)
            progress.advance(note=f"{name}: mean accuracy {scores[name].mean:.3f}")
    pairs = [("searched", "uniform"), ("searched", "pruned"), ("uniform", "pruned"), ("searched", "dense")]
    return {
        "benchmarks": {name: scores[name].summary() for name in given.models},
        "differences": {
            f"{a}-{b}": compare_scores(scores[a], scores[b]).summary()
            for a, b in pairs
            if a in scores and b in scores
        },
    }


def evaluate_one(
    *,
    name: str,
    folder: RunFolder,
    dense: str,
    benchmarks: list[str],
    limit: int | None,
    compute: Compute,
    asked: str = "",
) -> dict[str, Any]:
    """Score one model of the run and keep its items, so that a continued run does not repeat it.

    `asked` is part of the file's name where one folder holds scores on different questions.
    """
    stored = folder.path / "scores" / f"{name}{asked}.json"
    if stored.exists():
        return read_object(
            stored,
            keys=("benchmarks",),
            what=f"the scores of {name}",
            cost="this model answers the benchmarks again",
        )
    if name == "dense":
        check_dense(folder, dense)
    compute.apply()
    model, tokenizer = load(dense if name == "dense" else folder.pruned, compute=compute)
    if name not in ("dense", "pruned"):
        model = load_adapter(model, find_adapter(folder, name))
    document = evaluate(model, tokenizer, benchmarks=benchmarks, limit=limit, compute=compute).to_json()
    write_json(stored, document)
    return document


def find_adapter(folder: RunFolder, name: str) -> Path:
    """Return the folder with an adapter's weights: another adapter's where both have the same ranks."""
    own = folder.adapter(name)
    if (own / OUTCOME).exists() or not (own / SAME).exists():
        return own
    same = read_object(
        own / SAME,
        keys=("adapter",),
        what="the name of the adapter with the same ranks",
        cost="it is written again by the step recover, once its file in steps/ is deleted too",
    )
    return folder.adapter(same["adapter"])


def check_adapters(folder: RunFolder, recovered: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that every recovered adapter is in its folder, as the step `recover` wrote it.

    Args:
        folder: The run's.
        recovered: Name → outcome, as the step `recover` returns them.

    Raises:
        CheckpointError: If a file is missing, damaged or has another content; the message names it and what
            to do.
    """
    silent = []
    for place, name in {find_adapter(folder, name): name for name in recovered}.items():
        remedy = (
            f"Put back what was written, or delete {place / OUTCOME} and "
            f"{folder.path / STEPS / 'recover.json'} and run the same command again: this adapter is saved "
            "again from the last state of its fine-tune in checkpoint/, or trained again if that is gone."
        )
        if check_adapter(place, remedy=remedy) is None:
            silent.append(place.name)
        if (place / OUTCOME).exists():
            _check_outcome(read_outcome(place), recovered[name], place=place)
    if silent:
        logger.info(
            "adapters %s: written by an earlier version, without digests; not compared", ", ".join(silent)
        )


def _check_outcome(found: Mapping[str, Any], stored: Mapping[str, Any], *, place: Path) -> None:
    """Check that an adapter's folder does not hold another complete adapter."""
    if any(found[key] != stored[key] for key in ("values", "loss")):
        raise CheckpointError(
            f"{place}: holds another adapter than the step recover left there (held-out loss "
            f"{stored['loss']:.4f} stored, {found['loss']:.4f} found). Put each adapter back under its own "
            f"name, or delete the folder and {STEPS}/recover.json and run the same command again: it is "
            "trained again."
        )


def read_outcome(target: Path) -> dict[str, Any]:
    """Read the outcome of a full fine-tune from its adapter's folder.

    Raises:
        CheckpointError: If the file does not hold it.
    """
    return read_object(
        target / OUTCOME,
        keys=("values", "loss", "parameters", "tokens", "curve"),
        what="the outcome of a full fine-tune",
        cost="the adapter is saved again from the last state of its fine-tune in checkpoint/",
    )
