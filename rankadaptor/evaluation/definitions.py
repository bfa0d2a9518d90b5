"""Benchmark definitions: prompts and scoring of lm-eval, with the kit's rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.files import read_text
from rankadaptor.requirements import LM_EVAL, load_package

METRICS = {
    "boolq": "acc",
    "piqa": "acc",
    "hellaswag": "acc_norm",
    "winogrande": "acc",
    "arc_easy": "acc",
    "arc_challenge": "acc_norm",
    "openbookqa": "acc_norm",
}
"""The seven benchmarks and the metric reported for each [LLMPruner]_ [RankAdaptor]_."""

HUB = "hub:"

_FOLDERS = {
    "boolq": "super_glue/boolq",
    "piqa": "piqa",
    "hellaswag": "hellaswag",
    "winogrande": "winogrande",
    "arc_easy": "arc",
    "arc_challenge": "arc",
    "openbookqa": "openbookqa",
}
_FEWSHOT_SEED = 1234  # lm-eval's own default


@dataclass(frozen=True)
class Definition:
    """A loaded benchmark.

    Attributes:
        name: Its name.
        task: lm-eval's task object with rows and prompts.
        items: Indices of the items in the benchmark's full list.
        positions: Rows of `task` to evaluate; None for all.
    """

    name: str
    task: Any
    items: tuple[int, ...]
    positions: tuple[int, ...] | None

    def choose_metric(self, names: Sequence[str]) -> str:
        """Return the metric to report: the conventional one for the seven, otherwise the first one listed.

        Raises:
            InputError: If none of the benchmark's metrics is a value per item.
        """
        listed = [METRICS[self.name]] if self.name in METRICS else []
        listed += [str(entry["metric"]) for entry in self.task.config.metric_list or []]
        for name in [*listed, "acc_norm", "acc", "exact_match"]:
            if name in names:
                return name
        raise InputError(
            f"benchmark {self.name!r} has no accuracy per item, only {', '.join(names) or 'nothing'}. "
            "Name a metric such as acc or exact_match in its metric_list."
        )


def load_definitions(benchmarks: Sequence[str | Path], *, limit: int | None, seed: int) -> list[Definition]:
    """Load benchmarks: kit benchmarks by name, lm-eval YAML files by path, hub tasks as `hub:NAME`.

    Prompts, choices and scoring are lm-eval's own; for the kit's seven, only the rows come from the kit.

    Args:
        benchmarks: Names, paths, or `hub:` names.
        limit: Maximum number of items per benchmark. The choice depends only on the benchmark and `seed`, and
            a smaller limit gives a subset of a larger one.
        seed: Seed of the choice of items.

    Raises:
        InputError: If a name is unknown, a file cannot be read, or one benchmark is named twice.
        StorageError: If the kit's rows cannot be fetched.
    """
    places = locate_benchmarks(benchmarks, limit=limit)
    definitions: list[Definition] = []
    for place in places:
        if isinstance(place, str) and not place.startswith(HUB):
            definitions.append(_load_from_kit(place, limit=limit, seed=seed))
        else:
            definitions += _load_from_harness(place, limit=limit, seed=seed)
    names = [definition.name for definition in definitions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"benchmark(s) {', '.join(twice)} named twice; name each once.")
    return definitions


def locate_benchmarks(benchmarks: Sequence[str | Path], *, limit: int | None) -> list[str | Path]:
    """Check all names before anything is imported or fetched, and return them and the paths of task files.

    Raises:
        InputError: If the list is empty, a name is unknown, a file is missing, or the limit is out of range.
    """
    if isinstance(benchmarks, str | Path) or not benchmarks:
        raise InputError(f"benchmarks={benchmarks!r}: give a list with at least one of {', '.join(METRICS)}.")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: must be at least 1; None takes all items.")
    return [_locate(benchmark) for benchmark in benchmarks]


def check_benchmarks(benchmarks: Sequence[str | Path]) -> None:
    """Import lm-eval, fetch the rows of benchmarks where they are missing, and check that they can be read.

    A run needs them at its end; this finds missing data before anything is trained.

    Raises:
        InputError: If a benchmark is unknown or cannot be loaded, or lm-eval does not load.
        StorageError: If the kit's rows cannot be fetched.
    """
    if not benchmarks:
        return
    from rankadaptor import kit

    places = locate_benchmarks(benchmarks, limit=None)
    load_package(LM_EVAL)
    for place in places:
        if isinstance(place, str) and not place.startswith(HUB):
            kit.load_benchmark_rows(place)
    others = [place for place in places if isinstance(place, Path) or place.startswith(HUB)]
    if others:
        from rankadaptor.evaluation.harness import contain

        with contain():
            for place in others:
                _load_from_harness(place, limit=1, seed=0)


def _locate(benchmark: str | Path) -> str | Path:
    text = str(benchmark)
    if text in METRICS or text.startswith(HUB):
        return text
    if isinstance(benchmark, Path) or text.lower().endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise InputError(
                f"{path}: no such benchmark file. Give a YAML file that lm-eval reads as a task."
            )
        read_text(path)  # lm-eval reads it again, but does not name an encoding other than UTF-8
        return path
    from rankadaptor.kit.names import check_name

    remedy = "Also allowed: a task file of lm-eval (a path to .yaml), or hub:NAME (needs access to the hub)."
    check_name(text, METRICS, what="a benchmark", remedy=remedy)
    return text


def _load_from_kit(name: str, *, limit: int | None, seed: int) -> Definition:
    import lm_eval.tasks
    from datasets import Dataset
    from lm_eval.tasks import TaskManager

    from rankadaptor.kit import load_benchmark_rows

    rows = load_benchmark_rows(name)
    items = choose_items(name, len(rows), limit=limit, seed=seed)
    # In memory, so that data derived by lm-eval is not cached beside the kit's files.
    chosen = Dataset.from_list(rows.select(items).to_list(), features=rows.features)
    folder = Path(lm_eval.tasks.__file__).parent / _FOLDERS[name]
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    split = "test" if name in ("arc_easy", "arc_challenge", "openbookqa") else "validation"
    changes = {
        "task": name,
        "custom_dataset": lambda **_: {split: chosen},
        "training_split": None,
        "validation_split": split if split == "validation" else None,
        "test_split": split if split == "test" else None,
    }
    # Inside a group, an entry may override the settings of its file.
    task = manager.load([{"group": "kit", "task": [changes]}])["tasks"][name]
    return Definition(name, _prepare(task), tuple(items), None)


def _load_from_harness(place: str | Path, *, limit: int | None, seed: int) -> list[Definition]:
    from lm_eval.tasks import TaskManager

    try:
        if isinstance(place, Path):
            loaded = TaskManager(include_defaults=False).load([str(place)])
        else:
            loaded = TaskManager().load([place.removeprefix(HUB)])
    except Exception as error:  # a task file runs arbitrary code, so it may raise any error
        first = (str(error).splitlines() or [""])[0]
        kit = f" The kit has {', '.join(METRICS)} without a hub." if isinstance(place, str) else ""
        raise InputError(
            f"{place}: lm-eval cannot load it ({type(error).__name__}: {first}). Check the name and the "
            "network, or leave it out: benchmarks can be added to a finished run later (evaluate.benchmarks)."
            f"{kit}"
        ) from error
    definitions = []
    for name, task in loaded["tasks"].items():
        items = choose_items(name, len(task.eval_docs), limit=limit, seed=seed)
        definitions.append(Definition(name, _prepare(task), tuple(items), tuple(items)))
    return definitions


def _prepare(task: Any) -> Any:
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    return task


def choose_items(name: str, count: int, *, limit: int | None, seed: int) -> list[int]:
    """Choose the items of a benchmark: all, or `limit` at random, ascending."""
    if limit is None or limit >= count:
        return list(range(count))
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(count)
    return sorted(order[:limit].tolist())
