"""Tokens per second of the files of the frontier, measured in turn in one run; its rows have no other speeds.

python -m experiments.frontier.speeds FILE.yaml ...     run files of one model whose runs are finished

Run it while nothing else computes. A file's speed depends on its types and widths, not on what its weights
are, so stock files are written anew and a recovered one has the speed of the one that is not. Files of rules
that a run threw away have no speed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.frontier.rows import OURS, SPEEDS, Row, describe_limits, leave_speeds_out, load_compression
from experiments.program import run_program
from rankadaptor.config import CompressConfig
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.engine.session import EngineSession
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.stock_files import list_stock
from rankadaptor.pipeline.run_folder import RunFolder

RESULT = Path("experiments/results/frontier.json")
PROMPT, GENERATED = 512, 64
Key = tuple[str, str | None]
"""Method and limit, as rows have them; a stock file has no limit."""


def main() -> None:
    """Measure, and write the speeds into the rows of the setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="run files of compress")
    parser.add_argument("--rounds", type=int, default=5, help="times that every file is measured; 5")
    given = parser.parse_args()
    configs = [load_compression(file) for file in given.files]
    if len({config.model for config in configs}) > 1:
        raise InputError("run files of several models. Give those of one.")
    with tempfile.TemporaryDirectory() as folder:
        files = {**list_own(configs), **write_stock(configs[0], Path(folder))}
        speeds = measure_in_turn(files, rounds=given.rounds)
    rows = read_json(RESULT)
    write_json(RESULT, list(set_speeds(rows, speeds, setting=Path(configs[0].model).name)))
    sys.stdout.write(f"wrote {RESULT}: speeds of {len(speeds)} files\n")


def list_own(configs: Sequence[CompressConfig]) -> dict[Key, Path]:
    """Return the files that runs delivered.

    Raises:
        InputError: If a run is not finished.
    """
    found: dict[Key, Path] = {}
    for config in configs:
        file = Path(config.output) / "model.gguf"
        if not file.exists():
            raise InputError(f"{file} is missing. Run `rankadaptor run` on the run file first.")
        found[OURS, describe_limits(config.limits.model_dump())] = file
    return found


def write_stock(config: CompressConfig, folder: Path) -> dict[Key, Path]:
    """Write the dense model in the stock types of a run."""
    setting = Setting.of_run(RunFolder(folder, config.digest(), config=config), config)
    found: dict[Key, Path] = {}
    for number, stock in enumerate(list_stock(setting)):
        file = folder / f"{number}.gguf"
        write_gguf(setting.model, setting.tokenizer, file, types=stock.types or {})
        found[stock.name, None] = file
    return found


def measure_in_turn(files: dict[Key, Path], *, rounds: int) -> dict[Key, dict[str, float]]:
    """Return tokens per second of files on one thread: the best of some rounds, in which all take turns."""
    best = {key: dict.fromkeys(SPEEDS, 0.0) for key in files}
    with contextlib.ExitStack() as stack:
        sessions = {
            key: stack.enter_context(EngineSession(file, threads=1, context=PROMPT + GENERATED))
            for key, file in files.items()
        }
        for _ in range(rounds):
            for key, session in sessions.items():
                found = session.measure_speed(PROMPT, GENERATED, 1, clock="processor")
                for name, speed in zip(SPEEDS, (found.prompt, found.generate), strict=True):
                    best[key][name] = max(best[key][name], speed)
    return best


def set_speeds(rows: Iterable[Row], speeds: dict[Key, dict[str, float]], *, setting: str) -> Iterable[Row]:
    """Yield the rows; those of the setting have the measured speeds or none."""
    for row in rows:
        if row["setting"] != setting:
            yield row
            continue
        # A recovered file has the types and widths of the one that is not.
        key = (row["method"].split(",")[0], row["limit"])
        yield {**leave_speeds_out(row), **speeds.get(key, {})}


if __name__ == "__main__":
    run_program(main)
