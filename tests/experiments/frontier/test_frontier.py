"""Rows, targets and page of the frontier, from result documents as `compress` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.frontier.figure import draw_frontier
from experiments.frontier.margins import build_margins
from experiments.frontier.page import write_page
from experiments.frontier.rows import SPEEDS, leave_speeds_out, list_rows
from experiments.frontier.speeds import set_speeds
from experiments.frontier.targets import build_targets, find_speedup

SPEED = {"prompt_tokens_per_second": 200.0, "generate_tokens_per_second": 50.0}


def make_point(
    name: str, kind: str, megabytes: float, loss: float, *, recovered: bool = False
) -> dict[str, Any]:
    faster = {key: value * (1.5 if kind == "ours" else 1.0) for key, value in SPEED.items()}
    return {
        "name": name, "kind": kind, "recovered": recovered, "bytes": int(megabytes * 1e6),
        "sha256": "ab" * 32, "parameters": 134_515_008, "types": name, "speed": faster,
        "losses": {"judging": loss, "other": loss + 0.1},
    }  # fmt: skip


def make_document(size: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "run": {
            "name": f"frontier-{size}",
            "config": {"limits": {"size": size, "latency": None}, "recover": {"quantisation_aware": False}},
        },
        "result": {
            "points": points,
            "losses": {"judging": 3.4, "other": 3.5},
            "search": {"kl": {"best": 0.2}, "evaluations": {"sweep": 80, "search": 60}},
            "cost": {
                "tokens_scored": 400_000,
                "tokens_trained": {"recover": 49_152},
                "seconds": {"sweep": 500.4},
            },
        },
    }


def test_margins_are_over_the_best_reference_and_without_recovery_over_those_without(tmp_path: Path):
    stock = [
        make_point("stock Q4_0", "stock", 90.0, 3.60),
        make_point("stock Q4_0, recovered", "stock", 90.0, 3.45, recovered=True),
        make_point("stock Q4_1", "stock", 93.0, 3.40),  # free on the kit's weights: no reference
        make_point("stock Q8_0", "stock", 144.0, 3.39),  # larger than any reference may be
    ]
    ours = [
        make_point("ours, not recovered", "ours", 89.9, 3.45),
        make_point("ours", "ours", 89.9, 3.40, recovered=True),
    ]
    rules = [make_point("uniform Q4_0", "baseline", 59.9, 4.4, recovered=True)]
    small = [make_point("ours", "ours", 59.8, 4.15, recovered=True)]
    rows = list_rows(
        [make_document("90MB", [*ours, *stock]), make_document("60MB", [*small, *rules])], setting="smollm2"
    )
    assert [row["bytes"] for row in rows] == sorted(row["bytes"] for row in rows)
    assert {row["limit"] for row in rows if row["kind"] == "stock"} == {None}
    cells = {row[0].split(":")[0]: row[1:] for row in build_targets(rows).rows}
    assert cells["90MB, not recovered"] == ("+0.1000", "+0.1500", "+0.1500", "yes")
    assert cells["90MB, as delivered"] == ("+0.1000", "+0.0500", "+0.0500", "no")
    assert cells["90MB, as delivered, stock files as they are found"][3] == "yes"
    assert cells["60MB, as delivered"][1:] == ("+0.2500", "+0.2500", "yes")

    found = find_speedup(rows)
    assert found is not None
    assert (found["reference"], found["prompt"]) == ("stock Q4_0, recovered", 1.5)

    searches = [
        {
            "setting": "smollm2", "run": "frontier-90MB", "limit": "90MB", "method": method, "kl": 0.125,
            "evaluations": 140, "tokens_scored": 410_000, "seconds": 61.2,
            "history": [[count, 0.25], [140, 0.125]],
        }
        for method, count in (("refined", 85), ("random", 4))
    ]  # fmt: skip
    draw_frontier(rows, file=tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    page = tmp_path / "page.md"
    write_page(rows, searches=searches, file=page)
    text = page.read_text(encoding="utf-8")
    assert "| **ours** | 60MB | 59.80 |" in text
    assert "| 90MB | refined | – | – | 0.2500 | 0.1250 | 140 | 410,000 | 61 |" in text
    assert "| 90MB | random | 0.2500 | 0.2500 | 0.2500 | 0.1250 | 140 | 410,000 | 61 |" in text
    assert "140 configurations, 400,000 tokens scored, 49,152 trained" in text

    write_page([leave_speeds_out(row) for row in rows], file=page)
    assert "Tokens per second are left out" in page.read_text(encoding="utf-8")


def test_a_rule_that_chose_our_configuration_is_no_reference():
    ours = make_point("ours", "ours", 59.9, 4.15, recovered=True)
    points = [ours, {**ours, "name": "sequential, recovered", "kind": "sequential"}]
    points.append(make_point("taylor", "baseline", 59.8, 4.25, recovered=True))
    table = build_margins(list_rows([make_document("60MB", points)], setting="smollm2"))
    assert table.rows[0][3:5] == ("taylor", "+0.1000, +0.1000")
    assert "Also: sequential, recovered chooses the file of smollm2, 59.9 MB" in str(table.note)


def test_speeds_belong_to_types_and_widths():
    ours = [make_point("ours", "ours", 89.9, 3.4, recovered=True)]
    stock = [make_point(name, "stock", 92.0, 3.5) for name in ("stock Q4_0", "stock Q4_0, recovered")]
    rule = [make_point("uniform Q4_0", "baseline", 89.0, 3.6)]
    rows = list_rows([make_document("90MB", [*ours, *stock, *rule])], setting="smollm2")
    other = {**rows[0], "setting": "mistral"}
    speeds = {
        key: dict.fromkeys(SPEEDS, speed)
        for key, speed in ((("ours", "90MB"), 300.0), (("stock Q4_0", None), 200.0))
    }
    found = {
        (row["setting"], row["method"]): row[SPEEDS[0]]
        for row in set_speeds([*rows, other], speeds, setting="smollm2")
    }
    assert found["smollm2", "ours"] == 300.0
    assert found["smollm2", "stock Q4_0"] == found["smollm2", "stock Q4_0, recovered"] == 200.0
    assert found["smollm2", "uniform Q4_0"] is None
    assert found["mistral", other["method"]] == other[SPEEDS[0]]
