"""Turn a run's files into what versions before schema 2 of spaces and records wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODES = {"adapter_parameters": "parameters", "ranks": "rank_sum"}
LATER = ("cost_per_unit", "reference")  # attributes of slots that schema 1 did not have


def age_folder(folder: Path) -> None:
    """Write the spaces, records and allocations of a run's folder in schema 1."""
    step = folder / "steps" / "space.json"
    kept = read(step)
    write(step, {**kept, "space": age_space(kept["space"])})
    for path in folder.rglob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(age_record(record)) + "\n" for record in records))
    for path in folder.glob("adapters/*/allocation.json"):
        write(path, age_allocation(read(path), kept["space"]))
    if (path := folder / "elastic" / "elastic.json").exists():
        kept = read(path)
        write(path, {**kept, "space": age_space(kept["space"])})


def age_space(space: dict[str, Any]) -> dict[str, Any]:
    assert space["schema"] == 2
    [[resource, budget]] = space["limits"].items()
    [choices] = space["references"].values()
    return {
        "schema": 1,
        "model": space["model"],
        "mode": MODES[resource],
        "budget": budget,
        "reference": [slot["options"][choice] for slot, choice in zip(space["slots"], choices, strict=True)],
        "slots": [age_slot(slot, resource) for slot in space["slots"]],
    }


def age_slot(slot: dict[str, Any], resource: str) -> dict[str, Any]:
    same = ("name", "modules", "options", "block", "kind")
    return {
        **{key: slot[key] for key in same},
        "costs": slot["costs"][resource],
        "attributes": {name: value for name, value in slot["attributes"].items() if name not in LATER},
        "pinned": None if slot["pinned"] is None else slot["options"][slot["pinned"]],
    }


def age_record(record: dict[str, Any]) -> dict[str, Any]:
    assert record["schema"] == 2
    same = (
        "setting", "values", "seed", "steps", "fidelity", "status", "error", "commit", "created",
        "sequence_losses",
    )  # fmt: skip
    return {
        "schema": 1,
        **{key: record[key] for key in same if key in record},
        "loss": record["metrics"].get("loss"),
        "loss_uniform": record["metrics"].get("loss_reference"),
        "parameters": record["costs"]["adapter_parameters"],
        "tokens": record["costs"]["tokens"],
        "seconds": record["costs"]["seconds"],
    }


def age_allocation(allocation: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    [[resource, budget]] = space["limits"].items()
    return {
        "schema": 1,
        "model": allocation["model"],
        "space": "0123456789abcdef",  # a digest that spaces no longer have
        "budget": budget,
        "cost": allocation["costs"][resource],
        "slots": allocation["slots"],
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
