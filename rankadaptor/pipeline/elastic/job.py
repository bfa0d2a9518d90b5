"""The elastic job: prepare, train the super-network, search it, train references, judge, report.

Every step leaves one JSON file in the run's folder, every score a line in its record file, and every training
a checkpoint. A run that is cut off continues with the same command.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankadaptor.components.sparsity import measure_sparsity
from rankadaptor.config import ElasticConfig
from rankadaptor.corpus import Record
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import write_json
from rankadaptor.model import describe_model, digest_model
from rankadaptor.pipeline.compression.preparation import check_prepared
from rankadaptor.pipeline.elastic.finding import Follow, search, train
from rankadaptor.pipeline.elastic.judging import judge, train_references
from rankadaptor.pipeline.elastic.setting import ElasticSetting
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.planning.elastic import check_elastic
from rankadaptor.report import write_report
from rankadaptor.runtime import describe_environment, find_commit
from rankadaptor.tracking import Tracker, open_tracker

logger = logging.getLogger(__name__)


def run_elastic(config: ElasticConfig, *, output: Path | None = None, fresh: bool = False) -> dict[str, Any]:
    """Run, or continue, the whole elastic job that a run file describes.

    Args:
        config: The run.
        output: Folder to write to, `config.output` by default.
        fresh: Throw away what an earlier run left in the folder.

    Returns:
        The result, as written to `result.json` in the folder.

    Raises:
        InputError: If the run does not fit the model or the folder holds another run.
        BudgetError: If no allocation keeps the limit.
        TrainingError: If a loss is no longer finite.
        StorageError: If something could not be written; what was measured before is kept.
    """
    started = datetime.datetime.now(datetime.UTC)
    clock = time.monotonic()
    check_elastic(config, output=output, fresh=fresh)
    with (
        open_run(output or Path(config.output), config, fresh=fresh, adapt=True) as folder,
        open_tracker(config, folder.digest, fresh=not folder.continued) as tracker,
    ):
        result = _run_steps(ElasticSetting.of_run(folder, config), tracker)
        document = {
            "schema": 1,
            "run": {
                "name": config.name,
                "digest": folder.digest,
                "commit": find_commit(),
                "seed": config.seed,
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - clock, 1),
                "config": config.to_json(),
            },
            "result": result,
            "environment": describe_environment(),
        }
        write_json(folder.path / "result.json", document)
        tracker.log_file(write_report(folder.path))
        tracker.log_json(document, "result.json")
    return document


def _run_steps(setting: ElasticSetting, tracker: Tracker) -> dict[str, Any]:
    folder = setting.folder
    begun = folder.finished("prepare")
    prepared = folder.complete("prepare", lambda: prepare(setting))
    if begun:
        check_prepared(setting, prepared)
    tracker.log_parameters(setting.config.to_json())
    trained = folder.complete("train", lambda: train(setting))
    for step, loss in enumerate(trained["losses"], start=1):
        tracker.log_metrics({"training_loss": loss}, step=step)
    searched = folder.complete("search", lambda: search(setting, follow=_make_follow(tracker)))
    references = folder.complete("references", lambda: train_references(setting, searched))
    judged = folder.complete("judge", lambda: judge(setting, searched, references, tokens=trained["tokens"]))
    for point in judged["points"]:
        tracker.log_metrics(
            {f"loss_{part}_{point['name']}": loss for part, loss in point["losses"].items()}
            | {f"parameters_{point['name']}": point["parameters"]}
        )
    steps = {
        "prepare": prepared, "train": trained, "search": searched, "references": references, "judge": judged,
    }  # fmt: skip
    return {
        "compute": prepared["compute"],
        "model": prepared["model"],
        "texts": prepared["texts"],
        "losses": prepared["losses"],
        "space": prepared["space"],
        "sparsity": prepared["sparsity"],
        "training": {"losses": trained["losses"], "tokens": trained["tokens"]},
        "search": searched,
        "points": judged["points"],
        "verdicts": judged["verdicts"],
        "speed": judged["speed"],
        "best": judged["best"],
        "cost": {
            "tokens_scored": searched["tokens"],
            "tokens_trained": {"train": trained["tokens"], "references": references["tokens"]},
            "seconds": {name: step["seconds"] for name, step in steps.items()},
        },
    }


def prepare(setting: ElasticSetting) -> dict[str, Any]:
    """Divide the text, build the space, and measure the model as it was given."""
    compute, texts = setting.compute, setting.texts
    logger.info("space: %s", setting.limited)  # says now whether the limit can be kept
    if setting.types:  # says now whether the type can keep zeros
        logger.info("linears are trained through %s and merged in it", setting.config.train.merge_as)
    compute.apply()
    losses = {part: measure_loss(setting.model, texts[part], compute=compute).mean for part in texts.judging}
    return {
        "losses": losses,
        "sparsity": measure_sparsity(setting.model),
        "model": describe_model(setting.model, repeats=0),
        "texts": texts.describe(),
        "space": setting.limited.to_json(),
        "digests": {"model": digest_model(setting.model), "texts": texts.digest},
        "compute": {"device": compute.device, "dtype": compute.dtype, "reason": compute.reason},
    }


def _make_follow(tracker: Tracker) -> Follow:
    count, best = 0, float("inf")

    def follow(records: Sequence[Record]) -> None:
        nonlocal count, best
        for record in records:
            count += 1
            tracker.log_record(record, name=f"search-{count:03d}")
            if record.loss is not None:
                best = min(best, record.loss)
                tracker.log_metrics({"search_loss": record.loss, "search_best": best}, step=count)

    return follow
