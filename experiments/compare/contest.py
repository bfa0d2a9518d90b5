"""The comparison: every method on every setting, at equal parameters and equal cost."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.compare.choice import Choice
from experiments.compare.config import ComparisonConfig
from experiments.compare.guided import (
    SELECTION_SEED,
    choose_as_run,
    choose_by_trees,
    choose_like_paper,
    choose_random,
    choose_remeasured,
)
from experiments.compare.judgement import judge_choices
from experiments.compare.learned import find_corpus_digest
from experiments.compare.page import write_comparison
from experiments.compare.prepared_setting import PreparedSetting, prepare_setting
from experiments.compare.redistribution import choose_by_adalora, choose_by_eva
from experiments.compare.scored import (
    choose_by_damage,
    choose_by_spectra,
    choose_elastic,
    choose_linear_in_depth,
    choose_tuned_uniform,
    choose_uniform,
)
from experiments.compare.tuned_initialisation import choose_initialisation, choose_initialisation_then_ranks
from experiments.compare.with_scales import choose_with_scales
from experiments.jobs import JobFile
from rankadaptor.config import RunConfig, load_run
from rankadaptor.errors import InputError, RankAdaptorError, StorageError
from rankadaptor.files import lock_folder, read_json, write_json
from rankadaptor.runtime import find_commit

logger = logging.getLogger(__name__)

METHODS: dict[str, Callable[[PreparedSetting, ComparisonConfig], Choice]] = {
    "uniform": choose_uniform,
    "uniform_tuned": choose_tuned_uniform,
    "random": choose_random,
    "linear_in_depth": choose_linear_in_depth,
    "damage": choose_by_damage,
    "eva": choose_by_eva,
    "spectra": choose_by_spectra,
    "adalora": choose_by_adalora,
    "elastic": choose_elastic,
    "boosted_trees": choose_by_trees,
    "paper": choose_like_paper,
    "run_default": choose_as_run,
    "ours": choose_remeasured,
    "ours_widened": choose_with_scales,
    "uniform_started": choose_initialisation,
    "ours_started": choose_initialisation_then_ranks,
}
"""Every method chooses an allocation of the prepared setting, and may spend `trials` trials on it."""
LEARNED = ("paper", "run_default", "ours", "ours_started")
"""Methods whose choice depends on the corpus they learn from."""
STOPPING = ("ours", "ours_started")
"""Methods whose search may stop before its trials are used up."""


def compare_methods(config: ComparisonConfig) -> list[dict[str, Any]]:
    """Compare methods on every setting and write the rows to the comparison's result file.

    Every choice, trial and recovery is stored in `config.folder` at once, so the same command continues an
    interrupted comparison. A method that cannot be applied to a setting is left out of it,
    with a warning. Rows of other settings and methods that the file holds are kept.

    Returns:
        The rows of this comparison: `job, setting, method, parameters, cost_tokens, seeds, loss, gain,
        gain_low, gain_high, benchmarks` and more, losses and gains in nats per token.

    Raises:
        InputError: If a run file does not fit its model, or a folder holds another setting.
        StorageError: If something could not be written; earlier measurements are kept.
    """
    rows: list[dict[str, Any]] = []
    for run in load_settings(config):
        check_seeds(run, config, trials=config.trials)
        with prepare_setting(run, config.folder / run.name, workers=config.workers) as prepared:
            choices: dict[str, Choice] = {}
            for name in config.methods:
                choice = choose(prepared, config, name)
                if choice is not None:
                    choices[name] = choice
            judged = judge_choices(prepared, choices, final=config.final, benchmarks=config.benchmarks)
        asked = {"trials": config.trials, "stop": config.stop}
        found = [{"job": config.name, **asked, **row} for row in judged]
        rows += found
        for row in found:
            logger.info("%s", describe_row(row))
        merge_rows(
            Path(config.results),
            found,
            stale=functools.partial(is_stale, config=config, setting=run.name),
            write=None
            if config.document is None
            else functools.partial(
                write_comparison, results=Path(config.results), file=Path(config.document)
            ),
        )
    return rows


def load_settings(config: JobFile) -> list[RunConfig]:
    """Load the run files of a job, with its overrides and its number of workers."""
    overrides = [*config.overrides, f"compute.workers={config.workers}"]
    return [load_run(path, overrides) for path in config.settings]


def check_seeds(run: RunConfig, config: JobFile, *, trials: int, searches: int = 1) -> None:
    """Refuse to judge on seeds that choices are made on.

    Args:
        run: The setting.
        config: Says which seeds judge.
        trials: Number of seeds reserved for measuring finalists again.
        searches: Number of searches, one seed each.

    Raises:
        InputError: If a seed of the final recoveries is one of the search's.
    """
    judged = range(config.final.first_seed, config.final.first_seed + config.final.seeds)
    first = run.seed + SELECTION_SEED
    chosen = [*range(run.seed, run.seed + searches), *range(first, first + trials)]
    if shared := sorted(set(judged) & set(chosen)):
        raise InputError(
            f"{run.name}: seed {shared[0]} would both choose and judge. The search uses {run.seed} and "
            f"those from {first} on; set final.first_seed above {chosen[-1]}."
        )


def choose(prepared: PreparedSetting, config: ComparisonConfig, name: str) -> Choice | None:
    """Let a method choose, or read its earlier choice; None if it cannot be applied here.

    The choice of a method that learns from a corpus is stored under the digest of that corpus.
    """
    step = f"choose-{name}-{config.trials}x{config.batch}"
    corpus = find_corpus_digest(config.corpus) if name in LEARNED else None
    if corpus is not None:
        step += f"-{corpus[:8]}"
    if name in STOPPING and not config.stop:
        step += "-whole"

    def let_choose() -> dict[str, Any]:
        return {"choice": METHODS[name](prepared, config).to_json(), "commit": find_commit()}

    try:
        found = prepared.folder.complete(step, let_choose)
    except StorageError:
        raise
    except (RankAdaptorError, ValueError, RuntimeError) as error:  # the last two: from a library's own method
        logger.warning("%s cannot be applied to %s: %s", name, prepared.config.name, error)
        return None
    choice = Choice.from_json(found["choice"])
    origin = {"corpus": corpus, "chosen_by": found.get("commit")}
    return dataclasses.replace(choice, details={**choice.details, **origin})


def is_stale(row: Mapping[str, Any], *, config: ComparisonConfig, setting: str) -> bool:
    """Tell whether a row of an earlier comparison belongs to this job but is outdated.

    Outdated are rows with another number of trials, and those of this setting's methods, which are written
    anew.
    """
    if row.get("job") != config.name:
        return False
    asked = row.get("setting") == setting and row.get("method") in config.methods
    return asked or row.get("trials") != config.trials


def merge_rows(
    path: Path,
    rows: Sequence[dict[str, Any]],
    *,
    keys: Sequence[str] = ("job", "setting", "method"),
    stale: Callable[[Mapping[str, Any]], bool] | None = None,
    write: Callable[[list[dict[str, Any]]], object] | None = None,
) -> list[dict[str, Any]]:
    """Write rows into a result file in place of those with the same keys and of stale ones; others stay.

    Processes that write into the same file wait for one another, until `write` is done with all rows.
    """
    with lock_folder(path.parent):
        kept: list[dict[str, Any]] = read_json(path) if path.is_file() else []
        kept = [row for row in kept if stale is None or not stale(row)]
        merged = {tuple(row.get(key) for key in keys): row for row in kept}
        merged |= {tuple(row.get(key) for key in keys): row for row in rows}
        ordered = sorted(
            merged.values(), key=lambda row: (str(row.get("job")), str(row["setting"]))
        )  # stable
        write_json(path, ordered)
        if write is not None:
            write(ordered)
    return ordered


def describe_row(row: dict[str, Any]) -> str:
    """Describe a row in one line."""
    interval = "" if row["gain_low"] is None else f" ({row['gain_low']:+.4f} to {row['gain_high']:+.4f})"
    gain = "failed" if row["gain"] is None else f"gain {row['gain']:+.4f}{interval}"
    loss = "" if row["loss"] is None else f", loss {row['loss']:.4f}"
    return f"{row['setting']} · {row['method']}: {gain}{loss}, {row['parameters']:,} parameters"
