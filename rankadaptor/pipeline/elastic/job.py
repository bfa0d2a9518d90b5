"""The elastic job: prepare, train the super-network, search it, train references, judge, deliver, report.

Every step leaves one JSON file in the run's folder, every score a line in its record file, and every training
a checkpoint. A run that is cut off continues with the same command.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rankadaptor.components.sparsity import measure_sparsity
from rankadaptor.config import ElasticConfig
from rankadaptor.pipeline.elastic.delivery import deliver
from rankadaptor.pipeline.elastic.finding import search, train
from rankadaptor.pipeline.elastic.judging import judge, train_references
from rankadaptor.pipeline.elastic.setting import ElasticSetting
from rankadaptor.pipeline.running_job import open_job
from rankadaptor.pipeline.text_jobs.preparation import complete_preparation, measure_given
from rankadaptor.pipeline.text_jobs.score_log import follow_scores
from rankadaptor.planning.elastic import check_elastic
from rankadaptor.tracking import Tracker

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
    check_elastic(config, output=output, fresh=fresh)
    with open_job(config, output=output, fresh=fresh) as job:
        document = job.write_result(_run_steps(ElasticSetting.of_run(job.folder, config), job.tracker))
        job.publish(document)
    return document


def _run_steps(setting: ElasticSetting, tracker: Tracker) -> dict[str, Any]:
    folder = setting.folder
    prepared = complete_preparation(setting, lambda: prepare(setting))
    tracker.log_parameters(setting.config.to_json())
    trained = folder.complete("train", lambda: train(setting))
    for step, loss in enumerate(trained["losses"], start=1):
        tracker.log_metrics({"training_loss": loss}, step=step)
    follow = follow_scores(
        tracker, "search", read=lambda record: record.loss, curve="search_loss", best="search_best"
    )
    searched = folder.complete("search", lambda: search(setting, follow=follow))
    references = folder.complete("references", lambda: train_references(setting, searched))
    judged = folder.complete("judge", lambda: judge(setting, searched, references, tokens=trained["tokens"]))
    delivered = folder.complete("deliver", lambda: deliver(setting)) if setting.config.file else None
    for point in judged["points"]:
        tracker.log_metrics(
            {f"loss_{part}_{point['name']}": loss for part, loss in point["losses"].items()}
            | {f"parameters_{point['name']}": point["parameters"]}
        )
    steps = {
        "prepare": prepared, "train": trained, "search": searched, "references": references, "judge": judged,
    } | ({} if delivered is None else {"deliver": delivered})  # fmt: skip
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
        "file": delivered and {name: value for name, value in delivered.items() if name != "seconds"},
        "cost": {
            "tokens_scored": searched["tokens"],
            "tokens_trained": {"train": trained["tokens"], "references": references["tokens"]},
            "seconds": {name: step["seconds"] for name, step in steps.items()},
        },
    }


def prepare(setting: ElasticSetting) -> dict[str, Any]:
    """Divide the text, build the space, and measure the model as it was given."""
    logger.info("space: %s", setting.limited)  # says now whether the limit can be kept
    if setting.types:  # says now whether the type can keep zeros
        logger.info("linears are trained through %s and merged in it", setting.config.train.merge_as)
    return {
        **measure_given(setting, repeats=0),
        "sparsity": measure_sparsity(setting.model),
        "space": setting.limited.to_json(),
    }
