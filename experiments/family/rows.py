"""The rows of the family: every model that a run has measured, the preset's own result with its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.family.claims import CLAIMS, judge_claim
from rankadaptor.errors import InputError

Row = dict[str, Any]
SPEEDS = ("prompt_tokens_per_second", "generate_tokens_per_second")


def list_rows(document: Mapping[str, Any]) -> list[Row]:
    """Return one row per model of a finished elastic run, its result first.

    Raises:
        InputError: If the run is none of a preset with a claim.
    """
    config, result = document["run"]["config"], document["result"]
    preset = config["name"]
    if preset not in CLAIMS:
        raise InputError(
            f"run {preset!r}: none of the presets {', '.join(CLAIMS)}. Name the run after its preset, "
            f"for example --set name=lonas."
        )
    verdict, reason = judge_claim(CLAIMS[preset], result)
    points = sorted(result["points"], key=lambda point: point["name"] != result["best"])
    return [_make_row(point, document, preset=preset, verdict=verdict, reason=reason) for point in points]


def _make_row(
    point: Mapping[str, Any], document: Mapping[str, Any], *, preset: str, verdict: str, reason: str
) -> Row:
    config, result = document["run"]["config"], document["result"]
    ours, name = point["name"] == result["best"], point["name"]
    file = result.get("file") or {}
    speeds = (file.get("speeds") or {}).get("result" if ours else name, {})
    gains = result["verdicts"].get(name, {})
    against = CLAIMS[preset].against
    searched = {each["name"]: each for each in result["search"]["methods"]}
    seconds = document["result"]["cost"]["seconds"]
    return {
        "preset": preset,
        "setting": _name_setting(config),
        "model": name,
        "ours": ours,
        "claim": CLAIMS[preset].text if ours else None,
        "against": against if ours else None,
        "bytes": file.get("bytes") if ours else file.get("dense_bytes") if name == "dense" else None,
        "type": file.get("type"),
        "parameters": point["parameters"],
        **{speed: speeds.get(speed) for speed in SPEEDS},
        "loss_judging": point["losses"]["judging"],
        "loss_other": point["losses"].get("other"),
        "loss_file_judging": (file.get("losses") or {}).get("judging") if ours else None,
        "loss_file_other": (file.get("losses") or {}).get("other") if ours else None,
        "accuracy": None,
        "accuracy_se": None,
        "gain_judging": _read_gain(gains.get("judging")),
        "gain_other": _read_gain(gains.get("other")),
        "tokens_trained": point["tokens"],
        "tokens_scored": searched[name]["tokens"] if name in searched else 0,
        "rate": point.get("rate", config["train"]["learning_rate"] if point["tokens"] else None),
        "seconds": round(sum(seconds.values())) if ours else None,
        "seeds": [config["seed"]],
        "verdict": verdict if ours else None,
        "reason": reason if ours else None,
        "run": document["run"]["digest"],
        "commit": document["run"]["commit"],
    }


def _read_gain(entry: Mapping[str, Any] | None) -> list[float | None] | None:
    """Return gain of the result over this model, and the ends of its interval."""
    return None if entry is None else [entry["gain"], entry["low"], entry["high"]]


def _name_setting(config: Mapping[str, Any]) -> str:
    choices, train = config["choices"], config["train"]
    parts = [
        config["model"].removeprefix("kit:"),
        f"{train['steps']} steps of {train['batch_size']} sequences",
    ]
    if choices["sparsity"]:
        parts.append(f"{choices['sparsity']:.0%} sparse")
    if train.get("merge_as"):
        parts.append(f"merged as {train['merge_as']}")
    return ", ".join([*parts, train["rule"]])
