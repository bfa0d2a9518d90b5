"""Ways of searching at equal numbers of evaluations, in the space and with the sweep of a finished run.

python -m experiments.frontier.searches FILE.yaml ...     run files of compress whose runs have been searched

All begin as the run did: the same sweep, score, limits and early elimination. `refined` is the run's own
search, measured again from its scores. What is scored anew is added to the run's file of scores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.frontier.rows import Row, load_compression
from experiments.program import run_program
from rankadaptor.config import CompressConfig
from rankadaptor.corpus import Record
from rankadaptor.corpus.record import KL
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.pipeline.compression.exploration import (
    estimate_sweep,
    read_sweep,
    refine_optimum,
    run_screened,
)
from rankadaptor.pipeline.compression.latency import read_latency
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.step_files import read_step
from rankadaptor.search import Search
from rankadaptor.search.account import Account
from rankadaptor.search.alternatives import search_blindly, search_randomly

RESULT = Path("experiments/results/searches.json")
COMMAND = "python -m experiments.frontier.searches FILE.yaml"
EXACT = "exact optimum of the sweep"
REFINED = "refined"
METHODS = (EXACT, REFINED, "blind evolution from the optimum", "random")


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="run files of compress")
    parser.add_argument("--into", type=Path, default=RESULT, help=f"result file; {RESULT} by default")
    given = parser.parse_args()
    rows = [row for file in given.files for row in compare_searches(file)]
    kept = read_json(given.into) if given.into.exists() else []
    runs = {row["run"] for row in rows}
    write_json(given.into, [*(row for row in kept if row["run"] not in runs), *rows])
    sys.stdout.write(f"wrote {given.into}: {len(rows)} rows of {', '.join(sorted(runs))}\n")


def compare_searches(file: Path) -> list[Row]:
    """Search as a run did and in other ways, and return a row for each.

    Raises:
        InputError: If the file is no run file of `compress`, or its run has not been searched.
    """
    config = load_compression(file)
    setting = open_setting(config)
    swept = _read(setting, "sweep")
    evaluations = max(config.search.evaluations - swept["evaluations"], 1)
    values = estimate_sweep(setting, swept)
    optimum = setting.space.from_choices(tuple(_read(setting, "search")["optimum"]))
    before = Account.of_records(read_sweep(setting, swept))
    seed = config.seed
    searches: dict[str, Callable[[], Search]] = {
        EXACT: lambda: refine_optimum(setting, values, optimum),
        REFINED: lambda: refine_optimum(setting, values, optimum),
        METHODS[2]: lambda: search_blindly(setting.space, start=optimum, seed=seed),
        METHODS[3]: lambda: search_randomly(setting.space, seed=seed),
    }
    rows = []
    for method, make in searches.items():
        # Random search needs no sweep and has its evaluations too.
        base = Account() if method == METHODS[3] else before
        count = 1 if method == EXACT else evaluations + before.evaluations - base.evaluations
        rows.append(_run(setting, method, make(), evaluations=count, base=base))
    return rows


def open_setting(config: CompressConfig) -> Setting:
    """Return the inputs of a run whose folder is only read."""
    path = Path(config.output)
    if not all((path / "steps" / f"{name}.json").exists() for name in ("sweep", "search")):
        raise InputError(f"{path}: holds no finished search. Run `rankadaptor run` on its run file first.")
    setting = Setting.of_run(RunFolder(path, config.digest(), config=config), config)
    if config.limits.latency is not None:
        setting.latency_model = read_latency(_read(setting, "speed"))
    return setting


def _read(setting: Setting, step: str) -> dict[str, Any]:
    return read_step(setting.folder.path / "steps" / f"{step}.json", step, job="compress")


def _run(setting: Setting, method: str, search: Search, *, evaluations: int, base: Account) -> Row:
    records = run_screened(setting, search, evaluations=evaluations, follow=lambda _: None)
    account = base + Account.of_records(records)
    return {
        "setting": Path(setting.config.model).name,
        "run": setting.config.name,
        "limit": setting.config.limits.describe(),
        "method": method,
        "evaluations": account.evaluations,
        "tokens_scored": account.tokens,
        "seconds": round(account.seconds, 1),
        "kl": min(record.metrics[KL] for record in records if is_whole(record)),
        "history": list(list_best(records, before=base.evaluations)),
    }


def is_whole(record: Record) -> bool:
    """Tell whether a record is a sound one on all tokens."""
    return record.status == "ok" and record.fidelity >= 1.0


def list_best(records: Sequence[Record], *, before: int) -> Iterator[tuple[int, float]]:
    """Yield evaluations and the lowest divergence on all tokens so far, where it falls."""
    best = float("inf")
    for number, record in enumerate(records, start=before + 1):
        if is_whole(record) and record.metrics[KL] < best:
            best = record.metrics[KL]
            yield number, best


if __name__ == "__main__":
    run_program(main)
