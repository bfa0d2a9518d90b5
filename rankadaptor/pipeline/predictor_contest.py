"""The benchmark of predictors over a corpus; rows are stored at once, so an interrupted run continues."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rankadaptor.features
import rankadaptor.predictor
from rankadaptor.corpus import Corpus
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.files import append_line, compute_digest, write_json
from rankadaptor.predictor.baselines.score_predictor import ScorePredictor
from rankadaptor.predictor.contest import DRAWS, Train, average_rows, compare_predictors, judge_setting
from rankadaptor.predictor.contestants import list_contestants
from rankadaptor.predictor.evidence import Evidence, list_evidence
from rankadaptor.predictor.prediction import Predictor
from rankadaptor.progress import Progress

logger = logging.getLogger(__name__)

CODE = tuple(Path(str(package.__file__)).parent for package in (rankadaptor.features, rankadaptor.predictor))
"""Folders with the code of the predictors."""
LEAST = 12
"""Smallest number of allocations of a judged setting; with fewer, no order differs from chance."""


def benchmark_predictors(
    corpus: str | Path | Sequence[str | Path],
    *,
    output: str | Path | None = None,
    predictors: Iterable[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    siblings: bool = True,
    contestants: Mapping[str, Train] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate predictors on every setting of a corpus, trained on the others that are not held out.

    With `output`, writes the rows to it, and averages and facts of the run to `<output>-summary.json` beside
    it. Rows are collected in `<output>.partial.jsonl` until all are there: the same call with the same corpus
    and code continues.

    Args:
        corpus: Folder, or folders.
        output: The JSON file to write; nothing is written if None.
        predictors: Names of predictors; all if None. Rows of other predictors in the file are kept if they
            have the same corpus and code.
        draws: Number of random choices of the online records; each row is an average over them.
        seed: Seed of all random draws.
        siblings: Whether other settings of the same model are training data. Without them the benchmark
            measures transfer to new models, which is harder.
        contestants: The judged predictors by name; by default those of `search.predictor`. The corpus's own
            scores are judged as well.
        facts: Further values that the rows depend on; stored in the summary.

    Returns:
        One row per contestant, setting and count; see `docs/how-to/train-your-predictor.md` for its fields.

    Raises:
        InputError: If a name is unknown or no setting has enough allocations.
        CorpusError: If the corpus has a fault.
        StorageError: If the results cannot be written.
    """
    started, target = time.monotonic(), None if output is None else Path(output)
    loaded = Corpus.load(corpus)
    scores = _gather_scores(loaded)
    entered = list_contestants(seed=seed) if contestants is None else contestants
    contestants = {**entered, **dict.fromkeys(scores, _train_nothing)}
    chosen = list(contestants) if predictors is None else list(predictors)
    if unknown := [name for name in chosen if name not in contestants]:
        raise InputError(f"no contestant {unknown[0]!r}. Allowed are {', '.join(contestants)}.")
    evidence = list_judged(loaded)
    teachers = [each for each in evidence if not each.held_out]
    models = {each.model or each.name for each in teachers}
    if len(teachers) < 2 or (not siblings and len(models) < 2):
        raise InputError(
            f"{len(evidence)} settings have {LEAST} allocations or more; leaving one out takes at least two "
            "that are not held out, and leaving a model out two models. Measure more with `rankadaptor "
            "collect`."
        )
    run = compute_digest([loaded.digest, compute_code_digest(CODE), draws, seed, siblings, facts or {}])
    partial = None if target is None else target.with_suffix(".partial.jsonl")
    known = {} if partial is None else _read_partial(partial, run)
    # Earlier rows are kept as long as corpus and code are the same.
    names = [name for name in contestants if name in chosen or any(key[0] == name for key in known)]
    with Progress("benchmark", len(names) * len(evidence), unit="settings") as progress:

        def judge(name: str, setting: Evidence, make: Callable[[], Predictor]) -> list[dict[str, Any]]:
            key = (name, setting.name)
            if name in scores:  # fast, and not part of the run's identity
                table = scores[name].get(setting.name)
                own = [] if table is None else _judge_score(name, table, setting, draws=draws, seed=seed)
                progress.advance(note=f"{name} on {setting.name}")
                return own
            if key not in known:
                rows = judge_setting(make(), setting, draws=draws, seed=seed)
                known[key] = [{**row, "predictor": name} for row in rows]
                if partial is not None:
                    append_line(partial, json.dumps({"run": run, "key": list(key), "rows": known[key]}))
            progress.advance(note=f"{name} on {setting.name}")
            return known[key]

        rows = compare_predictors(
            {name: contestants[name] for name in names}, evidence, judge=judge, siblings=siblings
        )
    if target is None:
        return rows
    summary = {
        "corpus_digest": loaded.digest,
        "run": run,
        "draws": draws,
        **(facts or {}),
        "seed": seed,
        "siblings": siblings,
        "settings": [_describe(each) for each in evidence],
        "with_signal": average_rows(rows, signal=True),
        "without_signal": average_rows(rows, signal=False),
        "all": average_rows(rows, signal=None),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(target, rows)
    write_json(locate_summary(target), summary)
    return rows


def locate_summary(output: Path) -> Path:
    """Return the file of averages and facts beside the rows."""
    return output.with_name(f"{output.stem}-summary.json")


def list_judged(corpus: Corpus) -> list[Evidence]:
    """Return the settings with enough allocations to be judged on."""
    return [each for each in list_evidence(corpus) if len(each.observations) >= LEAST]


def _describe(evidence: Evidence) -> dict[str, Any]:
    from rankadaptor.predictor.ceiling import find_ceiling

    observations = evidence.observations
    ceiling = find_ceiling(observations)
    return {
        "setting": evidence.name,
        "held_out": evidence.held_out,
        "slots": evidence.space.n_slots,
        "allocations": len(observations),
        "repeats": int(observations.counts.sum()) - len(observations),
        "ceiling": ceiling.kendall,
        "noise": ceiling.noise,
        "spread": ceiling.spread,
        "signal": ceiling.signal,
        "better_than_uniform": float((observations.gains > 0).mean()),
    }


def _gather_scores(corpus: Corpus) -> dict[str, dict[str, ScoreTable]]:
    """Return the corpus's scores by contestant and setting; two settings may share a space."""
    gathered: dict[str, dict[str, ScoreTable]] = {}
    for setting in corpus.names():
        for kind, table in corpus.scores(setting).items():
            gathered.setdefault(f"score_{kind}", {})[setting] = table
    return dict(sorted(gathered.items()))


def _judge_score(
    name: str, table: ScoreTable, setting: Evidence, *, draws: int, seed: int
) -> list[dict[str, Any]]:
    return judge_setting(ScorePredictor(table, name=name), setting, draws=draws, seed=seed)


def _train_nothing(_seen: Sequence[Evidence]) -> Predictor:
    raise InputError("a score is measured in its own setting and cannot be trained.")


def compute_code_digest(folders: Sequence[Path]) -> str:
    """Return the digest of the Python files of some folders."""
    return compute_digest(
        [path.read_text("utf-8") for folder in folders for path in sorted(folder.rglob("*.py"))]
    )


def _read_partial(path: Path, run: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return this run's rows by contestant and setting; other and incomplete lines are skipped."""
    known: dict[tuple[str, str], list[dict[str, Any]]] = {}
    if not path.is_file():
        return known
    for line in path.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            logger.warning("%s: an incomplete line is skipped", path)
            continue
        if entry["run"] == run:
            name, setting = entry["key"]
            known[name, setting] = entry["rows"]
    return known
