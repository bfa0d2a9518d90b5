"""Verdicts on claims, rows and page of the family, from result documents as the elastic job writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.family.__main__ import collect_rows
from experiments.family.claims import CLAIMS, judge_claim
from experiments.family.page import write_page
from experiments.family.rows import list_rows
from rankadaptor.errors import InputError
from rankadaptor.files import write_json


def make_gain(low: float, high: float) -> dict[str, Any]:
    return {"gain": (low + high) / 2, "low": low, "high": high, "outcome": "no difference"}


def make_document(
    preset: str, against: str, low: float, high: float, *, share: float = 0.8, speed: float = 1.4
) -> dict[str, Any]:
    sizes = {"heuristic": int(share * 1000), "dense": 1000, against: 1000}
    config = {
        "name": preset, "model": "kit:smollm2-135m", "seed": 3, "choices": {"sparsity": 0.0},
        "train": {"steps": 4, "batch_size": 2, "rule": "random", "learning_rate": 0.003},
    }  # fmt: skip
    speeds = {name: {"prompt_tokens_per_second": 100.0 * ratio, "generate_tokens_per_second": 50.0}
              for name, ratio in (("dense", 1.0), ("result", speed))}  # fmt: skip
    return {
        "run": {"config": config, "digest": f"{preset}-{low}", "commit": "abc"},
        "result": {
            "best": "heuristic",
            "training": {"tokens": 50_000},
            "points": [
                {"name": name, "parameters": size, "tokens": 0 if name == "dense" else 512,
                 "losses": {"judging": 3.0, "other": 3.5}}
                for name, size in sizes.items()
            ],
            "verdicts": {against: {"judging": make_gain(low, high), "other": make_gain(low, high)}},
            "search": {"methods": [{"name": "heuristic", "tokens": 64}]},
            "speed": {"dense": 1.0, "result": 1.0},
            "file": {"type": "Q8_0", "bytes": 800_000, "dense_bytes": 1_000_000, "speeds": speeds,
                     "losses": {"judging": 3.01, "other": 3.51}},
            "cost": {"seconds": {"train": 10.0, "search": 2.0}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "low", "high", "given", "verdict"),
    [
        ("lonas", -0.01, 0.02, {}, "reproduced"),
        ("lonas", -0.2, -0.1, {}, "not reproduced"),
        ("lonas", -0.1, 0.1, {}, "undecided"),
        ("lonas", 0.1, 0.2, {"speed": 1.0}, "not reproduced"),
        ("llama_nas", 0.1, 0.2, {"share": 0.8}, "not reproduced"),
        ("shears", 0.001, 0.1, {}, "reproduced"),
        ("shears", -0.01, 0.01, {}, "not reproduced"),
        ("shears", -0.01, 0.05, {}, "undecided"),
        ("sqft", -0.01, 0.3, {}, "reproduced"),
    ],
)
def test_a_verdict_rests_on_the_intervals_and_on_size_and_speed(preset, low, high, given, verdict):
    document = make_document(preset, CLAIMS[preset].against, low, high, **given)
    assert judge_claim(CLAIMS[preset], document["result"])[0] == verdict


def test_a_short_training_decides_nothing():
    document = make_document("shears", "lora", 0.1, 0.2)
    document["result"]["training"]["tokens"] = 4_096
    verdict, reason = judge_claim(CLAIMS["shears"], document["result"])
    assert (verdict, reason) == ("undecided", "trained on 4,096 tokens, fewer than 40,000")


def test_rows_have_the_columns_of_the_comparison_and_the_page_shows_them(tmp_path: Path):
    folder = tmp_path / "lonas"
    folder.mkdir()
    write_json(folder / "result.json", make_document("lonas", "lora", -0.01, 0.02))
    rows = collect_rows([folder], kept=[])
    wanted = {
        "preset", "setting", "claim", "bytes", "parameters", "prompt_tokens_per_second",
        "generate_tokens_per_second", "loss_judging", "loss_other", "accuracy", "accuracy_se",
        "tokens_trained", "tokens_scored", "seconds", "seeds", "verdict",
    }  # fmt: skip
    assert all(wanted <= row.keys() for row in rows)
    assert [row["model"] for row in rows] == ["heuristic", "dense", "lora"]
    assert (rows[0]["bytes"], rows[0]["verdict"], rows[1]["verdict"]) == (800_000, "reproduced", None)
    assert len(collect_rows([folder], kept=rows)) == 3  # the same run takes the place of its own rows
    write_page(rows, file=tmp_path / "family.md")
    page = (tmp_path / "family.md").read_text()
    assert "**reproduced**" in page
    assert "+0.0050 (−0.0100 to +0.0200)" in page
    assert "Not measured yet: shears, sqft, llama_nas." in page


def test_a_run_of_no_preset_is_refused():
    document = make_document("lonas", "lora", 0.0, 0.1)
    document["run"]["config"]["name"] = "mine"
    with pytest.raises(InputError, match="none of the presets"):
        list_rows(document)
