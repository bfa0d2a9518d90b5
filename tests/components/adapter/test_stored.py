"""Spaces that earlier versions wrote are read as if built today."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.components.adapter import (
    RANK,
    RankSpace,
    add_scales,
    compute_first_digest,
    describe_budget,
    read_space,
)
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.files import compute_digest
from rankadaptor.space import Limit, Space
from tests.documents import ROOT
from tests.space.shapes import Linear, build_linears

SETTINGS = sorted((ROOT / "meta_data" / "settings").glob("*.json"))


def write_schema_1(space: Space) -> dict[str, Any]:
    """Write a space of ranks as earlier versions did: options and costs alone, one budget, pins as ranks."""
    budget, mode = describe_budget(space)
    return {
        "schema": 1,
        "model": space.model,
        "mode": mode,
        "budget": budget,
        "reference": list(space.reference().values),
        "slots": [
            {
                "name": slot.name,
                "modules": list(slot.modules),
                "options": list(slot.options),
                "costs": list(slot.costs_in(space.limits[0].resource)),
                "block": slot.block,
                "kind": slot.kind,
                "attributes": {
                    name: value
                    for name, value in slot.attributes
                    if name not in ("cost_per_unit", "reference")
                },
                "pinned": None if slot.pinned is None else slot.options[slot.pinned],
            }
            | ({} if slot.component == RANK else {"role": "scale"})
            for slot in space.slots
        ],
    }


def read_settings() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text("utf-8"))["space"]) for path in SETTINGS]


def test_the_settings_of_the_repository_have_their_costs_limit_and_reference() -> None:
    assert len(read_settings()) >= 19
    for path, data in read_settings():
        space = read_space(data)
        assert [list(slot.costs_in("adapter_parameters")) for slot in space.slots] == [
            slot["costs"] for slot in data["slots"]
        ], path
        assert space.bounds == (data["budget"],)
        assert list(space.reference().values) == data["reference"]
        assert space.reference().cost() == data["budget"]
        assert describe_budget(space) == (data["budget"], data["mode"])
        assert Space.from_json(space.to_json()) == space


def test_they_are_what_is_built_today() -> None:
    """Where each slot is one linear, its description tells all that a space is built from."""
    built = 0
    for path, data in read_settings():
        if any(len(slot["modules"]) > 1 for slot in data["slots"]):
            continue
        sides = [(slot["attributes"]["in_features"], slot["attributes"]["out_features"])
                 for slot in data["slots"]]  # fmt: skip
        space = RankSpace.from_linears(
            [
                Linear(slot["modules"][0], slot["block"], slot["kind"], int(inside), int(outside))
                for slot, (inside, outside) in zip(data["slots"], sides, strict=True)
            ],
            like_uniform=data["reference"][0],
            attributes={
                slot["block"]: {
                    name: slot["attributes"][name] for name in ("removed_share", "lost_importance")
                }
                for slot in data["slots"]
            },
            model=data["model"],
            slots="linear",
        )
        assert read_space(data) == space, path
        built += 1
    assert built >= 8


@pytest.mark.parametrize("mode", ["parameters", "rank_sum"])
def test_pins_scales_and_sums_of_ranks_are_read(mode: str) -> None:
    ranks = RankSpace.from_linears(
        build_linears(4), like_uniform=4, mode=mode, pinned={0: 3}, model="m", slots="linear"
    )
    for space in (ranks, add_scales(ranks), add_scales(ranks, pin_ranks=True)):
        old = json.loads(json.dumps(write_schema_1(space)))
        assert read_space(old) == space
        assert read_space(old).slots == space.slots
        assert read_space(space.to_json()) == space
        assert compute_first_digest(space) == compute_digest(old)
    more = dataclasses.replace(ranks, limits=(Limit("bytes", 10**9), *ranks.limits))
    turned = dataclasses.replace(ranks, limits=more.limits[::-1])
    assert describe_budget(more) == describe_budget(ranks)
    assert compute_first_digest(more) == compute_first_digest(turned) != compute_first_digest(ranks)


def test_the_first_digest_is_the_one_that_score_tables_of_schema_1_name() -> None:
    for path, data in read_settings():
        lines = (path.parents[1] / "scores" / f"{path.stem}.jsonl").read_text("utf-8").splitlines()
        space = read_space(data)
        for line in lines:
            stored = json.loads(line)
            assert stored["schema"] == 1
            assert stored["space"] == compute_first_digest(space) == compute_digest(data), path
            table = ScoreTable.from_json(stored)
            table.check_space(space)
            assert [list(row) for row in table.option_scores] == stored["worths"]


def test_faulty_spaces_of_schema_1_are_refused() -> None:
    data = write_schema_1(RankSpace.from_linears(build_linears(2), like_uniform=4, slots="block"))
    for change, message in (
        ({"mode": "bits"}, "allowed are parameters, rank_sum"),
        ({"reference": [4]}, "1 values of reference for 2 slots"),
        ({"reference": [4, 7]}, "7 is not one of its options"),
        ({"budget": None}, "not a space"),
        ({"budget": 1}, "costs .*, allowed are 1 "),
        ({"slots": [{"name": "x"}, {"name": "y"}]}, "not a space: KeyError"),
        ({"schema": 9}, "schema 9, this version reads 1 and 2"),
    ):
        with pytest.raises(InputError, match=message):
            read_space(data | change)
    with pytest.raises(InputError, match="schema None"):
        read_space([])
