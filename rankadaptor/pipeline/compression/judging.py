"""The verdict: the result against the references of its size, on texts that chose nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rankadaptor.pipeline.compression.candidates import Candidate, measure_rounded
from rankadaptor.pipeline.compression.delivery import load_recovered
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.results.compression import write_size
from rankadaptor.verdict import judge_gains

logger = logging.getLogger(__name__)

SAME_SIZE = 1.01
"""References count as of the same size up to this multiple of the result's bytes."""
OURS = "ours"
OPENINGS = {"better": "Better than", "no difference": "No difference from", "worse": "Worse than"}


def judge(
    setting: Setting,
    chosen: Candidate,
    recovered: Mapping[str, Any],
    exported: Mapping[str, Any],
    references: Sequence[Mapping[str, Any]],
    same: Sequence[Candidate] = (),
) -> dict[str, Any]:
    """Score the result on the judging texts and compare it with every reference.

    A recovered result is also scored as it was before its recovery. Rules that choose the configuration of
    the result (`same`) stand among the points with its figures and take no part in the verdict.

    Returns:
        `points` (all files measured, ours first) and `verdict`.
    """
    model = load_recovered(setting)
    losses = measure_rounded(setting, model, recovered["types"], parts=setting.texts.judging)
    engine = exported["engine"] or {}
    speeds = {name: engine[name] for name in engine if name.endswith("tokens_per_second")}
    ours = {
        "name": OURS,
        "kind": OURS,
        "recovered": recovered["kept"],
        "bytes": exported["bytes"],
        "sha256": exported["sha256"],
        "parameters": exported["parameters"],
        "losses": {part: each.mean for part, each in losses.items()},
        "sequence_losses": {part: list(each.per_sequence) for part, each in losses.items()},
        "types": OURS,
        "speed": speeds or None,
    }
    verdict = compare(ours, references, parts=setting.texts.judging)
    if same:
        names = " and ".join(each.name for each in same)
        verdict["sentence"] += f" The configuration is also that of {names}."
    logger.info("%s", verdict["sentence"])
    found = [ours]
    ending = ", recovered" if ours["recovered"] else ""
    found += [{**ours, "name": f"{each.name}{ending}", "kind": each.kind} for each in same]
    if ours["recovered"]:
        found.append({**ours, **_measure_before(setting, chosen)})
    points = [
        {key: value for key, value in point.items() if key != "sequence_losses"}
        for point in (*found, *references)
    ]
    return {"points": points, "verdict": verdict}


def join_points(*steps: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points of all steps, each file once.

    A recovered stock file has the shapes and types of the one that is not recovered, and so its speed.
    """
    points = list({point["name"]: point for step in steps for point in step["points"]}.values())
    speeds = {point["types"]: point["speed"] for point in points if point.get("speed")}
    return [{**point, "speed": point.get("speed") or speeds.get(point["types"])} for point in points]


def _measure_before(setting: Setting, chosen: Candidate) -> dict[str, Any]:
    """Measure the result before its recovery; its file has the same size and speed and was not kept."""
    model, types = chosen.extract(setting)
    losses = measure_rounded(setting, model, types, parts=setting.texts.judging)
    return {
        "name": f"{OURS}, not recovered",
        "recovered": False,
        "sha256": None,
        "losses": {part: each.mean for part, each in losses.items()},
    }


def compare(
    ours: Mapping[str, Any], references: Sequence[Mapping[str, Any]], *, parts: Sequence[str]
) -> dict[str, Any]:
    """Compare the result with the best reference that is not larger, on each text.

    It is `better` if it is so on every text, `worse` if it is so on one and better on none, and `no
    difference` otherwise: intervals are those of the mean over paired sequences.

    Returns:
        `outcome`, `against` (None without a reference of the size), `texts` (gain and interval of each),
        `sentence`.
    """
    size = ours["bytes"] * SAME_SIZE
    fitting = [point for point in references if point["bytes"] <= size]
    if not fitting:
        smallest = min(references, key=lambda point: point["bytes"], default=None)
        beside = (
            f"; the smallest, {smallest['name']}, has {write_size(smallest['bytes'])}" if smallest else ""
        )
        return {
            "outcome": "no verdict",
            "against": None,
            "texts": {},
            "sentence": f"No reference is as small as {write_size(ours['bytes'])}{beside}.",
        }
    best = min(fitting, key=lambda point: sum(point["losses"][part] for part in parts))
    texts = {}
    for part in parts:
        pairs = zip(best["sequence_losses"][part], ours["sequence_losses"][part], strict=True)
        texts[part] = dataclasses.asdict(judge_gains([reference - own for reference, own in pairs]))
    outcomes = {entry["outcome"] for entry in texts.values()}
    if outcomes == {"better"}:
        outcome = "better"
    elif "worse" in outcomes and "better" not in outcomes:
        outcome = "worse"
    else:
        outcome = "no difference"
    gains = ", ".join(
        f"{entry['gain']:+.3f} ({entry['low']:+.3f} to {entry['high']:+.3f}) on the {part} text"
        if entry["low"] is not None
        else f"{entry['gain']:+.3f} on the {part} text"
        for part, entry in texts.items()
    ).replace("-", "−")
    return {
        "outcome": outcome,
        "against": best["name"],
        "against_bytes": best["bytes"],
        "texts": texts,
        "sentence": f"{OPENINGS[outcome]} {best['name']} ({write_size(best['bytes'])}): {gains} nats per "
        "token.",
    }
