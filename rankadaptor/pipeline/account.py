"""The values that a run logs to its tracker, under the names that docs/how-to lists.

A continued run calls these functions again with the same values. The tracker skips what it already has, so
values that could not be stored earlier are added then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankadaptor.corpus import Record, RecordFile
from rankadaptor.pipeline.tuning import find_tuning_record
from rankadaptor.results.lengths import Lengths, describe_pairs

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.pipeline.run_folder import RunFolder
    from rankadaptor.pipeline.trial_source import TrialSource
    from rankadaptor.runtime import Compute
    from rankadaptor.tracking import Tracker

UNREAD = ("name", "track", "collect", "meta_train")
"""Keys that do not affect the results of `rankadaptor run`."""
DECIDED = (
    "compute.device", "compute.dtype", "search.predictor",
    "recipe.learning_rate", "recipe.scaling_exponent", "recipe.initialisation",
)  # fmt: skip
"""Keys whose value is chosen during the run: the chosen value is logged, not that of the run file."""


def log_settings(tracker: Tracker, config: RunConfig, *, compute: Compute) -> None:
    """Log the settings of a run: the keys that it reads and that are not null."""
    asked = {
        key: value
        for key, value in config.flatten().items()
        if value is not None and key.partition(".")[0] not in UNREAD and key not in DECIDED
    }
    if config.measure.kind == "short_run":  # the section's other keys are those of other kinds
        asked = {key: value for key, value in asked.items() if not _is_measure_detail(key)}
    used = {"compute.device": compute.device, "compute.dtype": compute.dtype}
    tracker.log_parameters({**asked, **used})
    tracker.log_tags({"precision": compute.dtype, "device": compute.device, "compute": compute.reason})


def log_tuning(tracker: Tracker, source: TrialSource, tuned: Mapping[str, Any], *, config: RunConfig) -> None:
    """Log the chosen recipe, and every trial of the tuning as a child."""
    recipe = source.recipe
    tracker.log_parameters(
        {
            "recipe.learning_rate": recipe.learning_rate,
            "recipe.scaling_exponent": recipe.scaling_exponent,
            "recipe.initialisation": recipe.initialisation,
        }
    )
    for number, trial in enumerate(tuned["trials"], start=1):
        varied = {
            "learning_rate": trial["learning_rate"],
            "scaling_exponent": trial["scaling_exponent"],
            "initialisation": trial.get("initialisation", "random"),
        }
        record = find_tuning_record(source, trial, config=config)
        if record is not None:
            tracker.log_record(record, name=f"tune-{number:03d}", parameters=varied)


def log_trials(
    tracker: Tracker, records: Sequence[Record], *, first: int = 1, best: float | None = None
) -> float | None:
    """Log trials of the search as children, and their gains as curves over the number of the trial.

    Args:
        tracker: Where they are logged.
        records: The trials.
        first: Number of the first trial.
        best: Largest gain of the earlier trials.

    Returns:
        The largest gain so far.
    """
    for number, record in enumerate(records, start=first):
        tracker.log_record(record, name=f"search-{number:03d}")
        best = max((gain for gain in (best, record.gain) if gain is not None), default=None)
        tracker.log_metrics({"trial_gain": record.gain, "best_trial_gain": best}, step=number)
    return best


def log_search(
    tracker: Tracker, folder: RunFolder, searched: Mapping[str, Any], *, config: RunConfig
) -> None:
    """Log the predictor of the search, and the trials of a search that was done before."""
    tracker.log_parameters({"search.predictor": searched["predictor"]})
    if not searched["history"]:
        return
    stored = RecordFile(folder.path / "elastic.jsonl" if config.measure.kind == "elastic" else folder.records)
    found = [
        stored.find(entry["values"], seed=config.seed, steps=searched["steps"])
        for entry in searched["history"]
    ]
    if None not in found:
        log_trials(tracker, [record for record in found if record is not None])


def log_verdict(
    tracker: Tracker, folder: RunFolder, verdict: Mapping[str, Any], *, config: RunConfig
) -> None:
    """Log the verdict as tags, metrics and description; its trials are children with a curve of their own."""
    stored = RecordFile(folder.records)
    steps = config.confirm.steps or config.search.steps
    for number, seed in enumerate(verdict["seeds"], start=1):
        record = stored.find(verdict["candidate"], seed=seed, steps=steps)
        if record is not None:
            tracker.log_record(record, name=f"confirm-{seed}")
            tracker.log_metrics({"confirm_gain": record.gain}, step=number)
    gain, low, high = (verdict[key] for key in ("gain", "low", "high"))
    tracker.log_metrics({"gain": gain, "gain_low": low, "gain_high": high})
    tags = {"verdict": verdict["outcome"], "mlflow.note.content": f"Verdict: {verdict['sentence']}"}
    lengths = Lengths(search=config.search.steps, verdict=steps, recovery=config.recover.steps)
    tags["verdict.evidence"] = describe_pairs(len(verdict["gains"]), lengths)
    if gain is not None:
        tags["gain"] = f"{gain:+.4f}"
    if low is not None and high is not None:
        tags["gain_interval"] = f"{low:+.4f} to {high:+.4f} ({verdict['confidence']:.0%})"
    tracker.log_tags(tags)


def log_recovery(tracker: Tracker, adapters: Mapping[str, Any]) -> None:
    """Log the held-out loss of every full fine-tune by optimiser step."""
    for name, entry in adapters.items():
        for point in entry["curve"]:
            tracker.log_metrics({f"loss_{name}": point["loss"]}, step=point["step"])


def log_benchmarks(tracker: Tracker, benchmarks: Mapping[str, Any]) -> None:
    """Log every model's accuracy on every benchmark, and its standard error."""
    for model, summary in benchmarks.items():
        for name, accuracy, error in _list_accuracies(summary):
            place = f"{model}/{re.sub(r'[^A-Za-z0-9_. -]', '_', name)}"
            tracker.log_metrics({f"accuracy/{place}": accuracy, f"accuracy_standard_error/{place}": error})


def _list_accuracies(summary: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None]]:
    for name, entry in summary.items():
        if isinstance(entry, Mapping) and "accuracy" in entry:
            yield name, entry["accuracy"], entry["standard_error"]
    yield "mean", summary.get("mean"), summary.get("mean_standard_error")


def _is_measure_detail(key: str) -> bool:
    return key.startswith("measure.") and key != "measure.kind"
