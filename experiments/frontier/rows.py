"""The rows of the frontier: every measured file of every run, whoever made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rankadaptor.config import CompressConfig, load_job
from rankadaptor.errors import InputError

OURS = "ours"
SPEEDS = ("prompt_tokens_per_second", "generate_tokens_per_second")
Row = dict[str, Any]


def load_compression(file: Path) -> CompressConfig:
    """Load a run file of `compress`.

    Raises:
        InputError: If it is one of another job.
    """
    config = load_job(file)
    if not isinstance(config, CompressConfig):
        raise InputError(f"{file}: not a run file of compress. Give one with `job: compress`.")
    return config


def list_rows(documents: Iterable[Mapping[str, Any]], *, setting: str) -> list[Row]:
    """Return one row per measured file, the smallest file first.

    Args:
        documents: Result documents of `compress`, all of one model and the same judging texts.
        setting: Name of model and texts.
    """
    rows = [
        _make_row(point, document, setting=setting)
        for document in documents
        for point in document["result"]["points"]
    ]
    return sorted(rows, key=lambda row: (row["bytes"], row["method"]))


def leave_speeds_out(row: Row) -> Row:
    """Return a row without its tokens per second."""
    return row | dict.fromkeys(SPEEDS)


def _make_row(point: Mapping[str, Any], document: Mapping[str, Any], *, setting: str) -> Row:
    result, config = document["result"], document["run"]["config"]
    ours = point["kind"] == OURS
    speed = point["speed"] or {}
    cost = result["cost"]
    evaluations = result["search"]["evaluations"]
    return {
        "setting": setting,
        "run": document["run"]["name"],
        "method": point["name"],
        "kind": point["kind"],
        "recovered": point["recovered"],
        "through_rounding": point["recovered"] and config["recover"]["quantisation_aware"] is not False,
        # A stock file has no limit: it is as large as its types make it.
        "limit": None if point["kind"] == "stock" else describe_limits(config["limits"]),
        "bytes": point["bytes"],
        "parameters": point["parameters"],
        "loss_judging": point["losses"]["judging"],
        "loss_other": point["losses"].get("other"),
        "loss_dense_judging": result["losses"]["judging"],
        "loss_dense_other": result["losses"].get("other"),
        "kl": result["search"]["kl"]["best"] if ours else None,
        **{name: speed.get(name) for name in SPEEDS},
        "evaluations": sum(evaluations.values()) if ours else None,
        "tokens_scored": cost["tokens_scored"] if ours else None,
        "tokens_trained": cost["tokens_trained"]["recover"] if point["recovered"] else 0,
        "seconds": round(sum(cost["seconds"].values())) if ours else None,
        "file_sha256": point["sha256"],
    }


def describe_limits(limits: Mapping[str, str | None]) -> str:
    """Name limits as rows do."""
    return ", ".join(str(bound) for bound in limits.values() if bound is not None)
