"""The job of `compress`: prepare, sweep, search, finalists, recovery, export, references, verdict, report.

Every step leaves one JSON file in the run's folder, every score a line in its record file, and every recovery
a checkpoint. A run that is cut off continues with the same command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.corpus.record import KL
from rankadaptor.pipeline.compression.baselines import list_baselines
from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.delivery import export_chosen, keep_chosen
from rankadaptor.pipeline.compression.exploration import estimate_sweep, search, sweep
from rankadaptor.pipeline.compression.finalists import choose_finalist, describe_allocation, read_chosen
from rankadaptor.pipeline.compression.judging import join_points, judge
from rankadaptor.pipeline.compression.latency import measure_latency, read_latency
from rankadaptor.pipeline.compression.preparation import prepare
from rankadaptor.pipeline.compression.rank_search import SEARCHED, search_ranks
from rankadaptor.pipeline.compression.recoveries import recover_all
from rankadaptor.pipeline.compression.references import measure_references
from rankadaptor.pipeline.compression.scored_model import measure_scored_model
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.stock_files import measure_stock, recover_stock
from rankadaptor.pipeline.running_job import open_job
from rankadaptor.pipeline.text_jobs.preparation import complete_preparation
from rankadaptor.pipeline.text_jobs.score_log import Follow, follow_scores
from rankadaptor.planning.compression import check_compression
from rankadaptor.tracking import Tracker

RECOVERY = ("kept", "before", "after", "losses", "teacher")
"""What the result says of the recovery, as `recover_chosen` describes it."""


def run_compression(
    config: CompressConfig, *, output: Path | None = None, fresh: bool = False
) -> dict[str, Any]:
    """Run, or continue, the whole compression that a run file describes.

    Args:
        config: The run.
        output: Folder to write to, `config.output` by default.
        fresh: Throw away what an earlier run left in the folder.

    Returns:
        The result, as written to `result.json` in the folder.

    Raises:
        InputError: If the run does not fit the model or the folder holds another run.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
        StorageError: If something could not be written; what was measured before is kept.
    """
    check_compression(config, output=output, fresh=fresh)
    with open_job(config, output=output, fresh=fresh) as job:
        setting = Setting.of_run(job.folder, config)
        try:
            result = _run_steps(setting, job.tracker)
        finally:
            setting.close_score()
        document = job.write_result(result)
        from rankadaptor.pipeline.compression.publication import publish  # matplotlib

        publish(job, document)
    return document


def _run_steps(setting: Setting, tracker: Tracker) -> dict[str, Any]:
    folder, config = setting.folder, setting.config
    prepared = complete_preparation(setting, lambda: prepare(setting))
    tracker.log_parameters(config.to_json())
    tracker.log_metrics({f"loss_dense_{part}": loss for part, loss in prepared["losses"].items()})
    setting.fit_memory()
    latency = None
    if config.limits.latency is not None:
        latency = folder.complete("speed", lambda: measure_latency(setting))
        setting.latency_model = read_latency(latency)

    scored = None
    if config.search.recovered_steps:
        scored = folder.complete("scored_model", lambda: measure_scored_model(setting))
    swept = folder.complete("sweep", lambda: sweep(setting, follow=_make_follow(tracker, "sweep")))
    searched = folder.complete(
        "search", lambda: search(setting, swept, follow=_make_follow(tracker, "search"))
    )
    baselines = folder.complete("baselines", lambda: _find_baselines(setting, swept, searched))
    setting.close_score()
    rivals = [Candidate(each["name"], each["kind"], tuple(each["choices"])) for each in baselines["found"]]
    finalists = folder.complete("finalists", lambda: choose_finalist(setting, searched, rivals))
    chosen = read_chosen(finalists)
    described = describe_allocation(setting, chosen)
    rate = finalists["rate"]
    ranked = None
    if config.recover is not None and config.recover.ranks == SEARCHED:
        follow = _make_follow(tracker, "ranks")
        ranked = folder.complete("ranks", lambda: search_ranks(setting, chosen, rate=rate, follow=follow))
    ranks = None if ranked is None else ranked["ranks"]
    # A rule that chooses the result's own configuration gives the same file: it is not measured twice.
    same = [each for each in rivals if ranks is None and each.choices == chosen.choices]
    rivals = [each for each in rivals if each not in same]
    recoveries = None
    if setting.workers > 1:
        recoveries = folder.complete(
            "recoveries", lambda: recover_all(setting, chosen, rivals, rate=rate, ranks=ranks)
        )
    recovered = folder.complete("recover", lambda: keep_chosen(setting, chosen, rate, ranks))
    exported = folder.complete("export", lambda: export_chosen(setting, recovered, described["costs"]))
    stock = folder.complete("stock", lambda: measure_stock(setting))
    stock_recovered = folder.complete("stock_recovered", lambda: recover_stock(setting, rate=rate))
    references = folder.complete("references", lambda: measure_references(setting, rivals, rate=rate))
    measured = join_points(stock, stock_recovered, references)
    judged = folder.complete("judge", lambda: judge(setting, chosen, recovered, exported, measured, same))
    _log_points(tracker, judged)

    steps = {
        "prepare": prepared, "speed": latency, "scored_model": scored, "sweep": swept,
        "search": searched, "baselines": baselines,
        "finalists": finalists, "ranks": ranked, "recoveries": recoveries, "recover": recovered,
        "export": exported, "stock": stock,
        "stock_recovered": stock_recovered, "references": references, "judge": judged,
    }  # fmt: skip
    return {
        "compute": {**prepared["compute"], "threads": setting.workers},
        "model": prepared["model"],
        "texts": prepared["texts"],
        "losses": prepared["losses"],
        "latency": latency,
        "space": swept["space"],
        "search": {
            "kl": searched["kl"],
            "history": searched["history"],
            "evaluations": {"sweep": swept["evaluations"], "search": searched["evaluations"]},
        },
        "finalists": {key: finalists[key] for key in ("finalists", "rate") if key in finalists},
        "choice": finalists.get("choice"),
        "chosen": {"name": finalists["chosen"]["name"], **described},
        "ranks": ranked,
        "recovery": {key: recovered[key] for key in RECOVERY if key in recovered},
        "export": exported,
        "points": judged["points"],
        "verdict": judged["verdict"],
        "skipped": [stock_recovered["skipped"]] if stock_recovered["skipped"] else [],
        "cost": {
            "tokens_scored": swept["tokens"] + searched["tokens"] + baselines["tokens"],
            "tokens_trained": {
                name: step["tokens"]
                for name, step in (
                    ("scored_model", scored), ("finalists", finalists), ("ranks", ranked),
                    ("recover", recovered),
                    ("stock_recovered", stock_recovered),
                    ("references", references),
                )
                if step is not None
            },
            "seconds": {name: step["seconds"] for name, step in steps.items() if step is not None},
        },
    }  # fmt: skip


def _find_baselines(setting: Setting, swept: dict[str, Any], searched: dict[str, Any]) -> dict[str, Any]:
    values = estimate_sweep(setting, swept)
    before = setting.count_scored()
    found = list_baselines(setting, values=values, optimum=tuple(searched["optimum"]))
    return {
        "found": [
            {"name": each.name, "kind": each.kind, "choices": list(each.choices or ())} for each in found
        ],
        "tokens": setting.count_scored() - before,
    }


def _make_follow(tracker: Tracker, name: str) -> Follow:
    return follow_scores(
        tracker, name, read=lambda record: record.metrics.get(KL), curve=f"{name}_kl", best=f"{name}_best_kl"
    )


def _log_points(tracker: Tracker, judged: dict[str, Any]) -> None:
    """Log every point of the front, ours as metrics of the run."""
    ours = judged["points"][0]
    metrics: dict[str, float | None] = {"bytes": ours["bytes"], "parameters": ours["parameters"]}
    metrics |= {f"loss_{part}": loss for part, loss in ours["losses"].items()}
    metrics |= ours["speed"] or {}
    tracker.log_metrics(metrics)
    for point in sorted(judged["points"], key=lambda each: int(each["bytes"])):
        step = point["bytes"] // 1000  # kilobytes: the front is a curve over the file's size
        found = {f"front_{part}_{point['kind']}": loss for part, loss in point["losses"].items()}
        tracker.log_metrics(found, step=step)
    tracker.log_json(judged["points"], "front.json")
    verdict = judged["verdict"]
    tracker.log_tags({"verdict": verdict["outcome"], "mlflow.note.content": verdict["sentence"]})
