"""Every method on a pico setting: equal parameters, counted cost, and the same command continues."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from experiments.compare.benchmark_tables import average_benchmarks
from experiments.compare.config import ComparisonConfig
from experiments.compare.contest import METHODS, compare_methods, is_stale, merge_rows
from experiments.compare.judgement import judge_pairs
from experiments.compare.page import render_comparison
from experiments.compare.redistribution import fit_ranks
from experiments.compare.scored import share_elastic
from experiments.compare.summary import fill_comparison
from experiments.jobs import load_job
from experiments.parity import study as parity
from experiments.parity.config import ParityConfig
from experiments.parity.page import render_parity
from experiments.parity.study import check_claim
from experiments.smaller import study as smaller
from experiments.smaller.config import SmallerConfig
from experiments.smaller.page import fill_smaller, render_smaller
from experiments.smaller.sizes import is_not_worse
from experiments.smaller.study import find_smaller
from rankadaptor.components.adapter import ADAPTER_PARAMETERS, RankSpace
from rankadaptor.config import build_run, dump_run
from rankadaptor.errors import ConfigError, InputError
from rankadaptor.model.families import Linear
from rankadaptor.results.table import write_points
from rankadaptor.space import Limit
from rankadaptor.verdict import judge_gains

REQUIRED = {
    "setting", "method", "parameters", "cost_tokens", "seeds", "loss", "gain", "gain_low", "gain_high",
    "benchmarks",
}  # fmt: skip
CORPUS = "no-corpus-here"


@pytest.fixture
def setting(pico_run: dict[str, Any], tmp_path: Path) -> str:
    """A run file of the pico setting, with a corpus that is not there."""
    pico_run["recover"] = {"steps": 3}
    path = tmp_path / "pico.yaml"
    path.write_text(dump_run(build_run(pico_run)))
    return str(path)


def make_config(setting: str, folder: Path, **settings: Any) -> ComparisonConfig:
    return ComparisonConfig(
        **{
            "settings": (setting,),
            "output": str(folder / "measured"),
            "results": str(folder / "compare.json"),
            "document": str(folder / "comparison.md"),
            "trials": 6,
            "corpus": CORPUS,
            "final": {"seeds": 2},
            **settings,
        }
    )


def test_all_methods_keep_the_budget_and_the_same_command_continues(setting: str, tmp_path: Path) -> None:
    config = make_config(setting, tmp_path, methods=tuple(METHODS))
    rows = compare_methods(config)
    assert [row["method"] for row in rows] == list(METHODS)
    uniform = rows[0]
    for row in rows:
        assert set(row) >= REQUIRED
        assert 0 < row["parameters"] <= uniform["parameters"]
        assert row["seeds"] == 2
        if row["equals_uniform"]:
            assert row["gains"] == [0.0, 0.0]
    cost = {row["method"]: row["cost_tokens"] for row in rows}
    assert cost["uniform"] == cost["linear_in_depth"] == cost["damage"] == 0
    assert cost["ours_widened"] > 0
    limit = max(cost["random"], cost["elastic"])
    assert 0 < cost["ours"] <= limit
    assert 0 < cost["run_default"] <= limit
    assert 0 < cost["boosted_trees"] <= limit
    assert 0 < cost["spectra"] <= limit
    assert json.loads((tmp_path / "compare.json").read_text()) == rows
    figures = {config.name: f"figures/compare-{config.name}.png"}
    assert (tmp_path / figures[config.name]).read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "comparison.md").read_text() == render_comparison(rows, figures=figures)
    part = f"comparison-{config.name}"
    readme = tmp_path / "docs" / "page.md"
    readme.parent.mkdir()
    readme.write_text(f"<!-- generated:{part} -->\n<!-- /generated:{part} -->\n")
    assert fill_comparison(config.results, file=readme) == [part]
    assert f"](../figures/compare-{config.name}.png)" in readme.read_text()
    assert f"Of {len(METHODS)} methods in 1 setting," in readme.read_text()

    measured = sorted((tmp_path / "measured").rglob("*.jsonl"))
    before = [path.read_text() for path in measured]
    assert compare_methods(config) == rows
    assert [path.read_text() for path in measured] == before


def test_benchmarks_are_answered_once_per_choice(setting: str, tmp_path: Path) -> None:
    rows = compare_methods(
        make_config(
            setting,
            tmp_path,
            methods=("uniform", "linear_in_depth"),
            benchmarks={"names": ("piqa",), "limit": 4},
        )
    )
    assert rows[0]["benchmarks"]["piqa"]["n"] == 4
    assert "difference" in rows[1]["benchmarks"]
    table = average_benchmarks(rows)
    assert table is not None
    assert table.header == ("method", "piqa", "mean", "minus uniform")
    assert [line[0] for line in table.rows] == ["uniform", "ranks: linear"]
    assert table.rows[0][-1] == "–"
    difference = rows[1]["benchmarks"]["difference"]["mean"]
    assert table.rows[1][-1] == write_points(
        difference["difference"], difference["standard_error"], signed=True
    )
    assert table.to_markdown() in (tmp_path / "comparison.md").read_text()
    assert average_benchmarks([{**row, "benchmarks": {}} for row in rows]) is None
    assert "4 items a benchmark" in table.note
    difference["standard_error"] = None  # of a single item
    lone = average_benchmarks(rows)
    assert lone is not None
    assert lone.rows[1][-1] == write_points(difference["difference"], None, signed=True)


def test_rows_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    merge_rows(path, [{"setting": "b", "method": "x", "gain": 1}, {"setting": "a", "method": "x", "gain": 1}])
    rows = merge_rows(path, [{"setting": "b", "method": "x", "gain": 2}])
    assert rows == [{"setting": "a", "method": "x", "gain": 1}, {"setting": "b", "method": "x", "gain": 2}]


def test_two_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path, methods = tmp_path / "rows.json", [str(number) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:  # each opens the lock for itself, as processes do
        list(pool.map(lambda method: merge_rows(path, [{"setting": "a", "method": method}]), methods))
    assert {row["method"] for row in json.loads(path.read_text())} == set(methods)


def test_jobs_keep_rows_of_their_own(tmp_path: Path) -> None:
    row = {"setting": "a", "method": "x", "trials": 12, "trial_steps": 8, "steps": 16, "gain": None}
    rows = merge_rows(tmp_path / "rows.json", [{**row, "job": "short"}])
    rows = merge_rows(tmp_path / "rows.json", [{**row, "job": "full", "trials": 24}])
    assert [each["job"] for each in rows] == ["full", "short"]


def test_what_breaks_down_is_no_verdict() -> None:
    from rankadaptor.corpus import Record

    def record(seed: int, loss: float | None) -> Any:
        return Record.of_fine_tune(
            setting="a", values=(1,), seed=seed, steps=1, fidelity=1.0, loss=loss,
            loss_reference=loss, parameters=1, tokens=1, seconds=1.0,
            status="ok" if loss is not None else "failed",
            error=None if loss is not None else "diverged", commit="c", created="now",
        )  # fmt: skip

    uniform = [record(seed, 2.0) for seed in range(5)]
    good = [record(seed, 1.9 + 0.001 * seed) for seed in range(5)]
    assert judge_pairs(good, uniform, confidence=0.95)[1].outcome == "better"
    gains, judged = judge_pairs([*good[:2], *(record(s, None) for s in (2, 3, 4))], uniform, confidence=0.95)
    assert len(gains) == 2
    assert judged.outcome == "no difference"
    assert "3 of 5" in judged.reason


def test_what_a_job_would_not_find_again_is_dropped(tmp_path: Path, setting: str) -> None:
    config = make_config(setting, tmp_path, name="short", methods=("uniform", "random"), trials=6)
    row = {"job": "short", "setting": "pico", "method": "random", "trials": 6}
    assert is_stale(row, config=config, setting="pico")  # written anew, or no longer applicable
    assert is_stale({**row, "setting": "other", "trials": 12}, config=config, setting="pico")
    assert not is_stale({**row, "setting": "other"}, config=config, setting="pico")
    assert not is_stale({**row, "method": "eva"}, config=config, setting="pico")
    assert not is_stale({**row, "job": "full", "trials": 12}, config=config, setting="pico")


def test_rows_of_other_trials_or_seeds_are_dropped() -> None:
    config = SmallerConfig(name="small", settings=("a",), trials=8, like_uniform=4, final={"seeds": 3})
    row = {"job": "small", "trials": 8, "like_uniform": 4, "final_seeds": 3}
    assert not smaller.is_stale(row, config=config)
    assert not smaller.is_stale({**row, "job": "other", "trials": 9}, config=config)
    assert smaller.is_stale({**row, "trials": 9}, config=config)
    assert smaller.is_stale({**row, "final_seeds": 5}, config=config)
    assert smaller.is_stale({"job": "small", "trials": 8, "like_uniform": 4}, config=config)
    found = [{"setting": "a", "ratio": 0.2, "method": "paper", "repeat": 0}]
    assert parity.is_stale({**found[0], "repeat": 2}, found=found)
    assert not parity.is_stale({**found[0], "method": "ours"}, found=found)
    assert not parity.is_stale({**found[0], "ratio": 0.3}, found=found)


def test_linears_without_a_rank_count_as_none() -> None:
    linears = [
        Linear(name, block, "up_proj", 4, 6) for block, name in enumerate(("first", "second", "third"))
    ]
    tight = RankSpace.from_linears(linears, like_uniform=1, ranks=(0, 1, 2), slots="block", pinned={0: 0})
    space = dataclasses.replace(tight, limits=(Limit(ADAPTER_PARAMETERS, 30),))
    assert fit_ranks(space, {"second": 2, "third": 1}).values == (0, 2, 1)


def test_no_seed_both_chooses_and_judges(setting: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both choose and judge"):
        find_smaller(SmallerConfig(settings=(setting,), output=str(tmp_path), final={"first_seed": 0}))
    for first_seed in (0, 503):
        with pytest.raises(InputError, match="both choose and judge"):
            compare_methods(make_config(setting, tmp_path, final={"seeds": 2, "first_seed": first_seed}))


def test_slices_beyond_the_trials_are_paid_for_with_steps() -> None:
    trained, scored = share_elastic(12, 16_000, 2_000)
    assert scored == 48
    assert trained + (scored - 12) * 2_000 == 12 * 16_000
    trained, scored = share_elastic(12, 16_000, 15_000)  # a long held-out text leaves half for training
    assert 12 < scored < 48
    assert 0.5 * 12 * 16_000 <= trained <= 12 * 16_000
    assert share_elastic(12, 1_000, 1_000_000) == (12_000, 12)


def test_not_worse_must_be_established() -> None:
    noisy = judge_gains([-0.05, 0.04, -0.03, 0.02, -0.01])
    sure = judge_gains([-0.001, -0.002, -0.001, -0.002, -0.001])
    assert not is_not_worse(noisy, margin=0.01)
    assert is_not_worse(sure, margin=0.01)
    assert not is_not_worse(sure, margin=0.0)


def test_the_predictor_never_learns_from_the_pruned_model_at_hand(setting: str, tmp_path: Path) -> None:
    """Not even where its settings have other names."""
    from experiments.compare.learned import learn_without
    from experiments.compare.prepared_setting import prepare_setting
    from rankadaptor.config import load_run
    from rankadaptor.corpus import Corpus
    from rankadaptor.pipeline.collection import collect_records

    corpus = tmp_path / "corpus"
    given = [f"collect.corpus={corpus}", "recipe.tune=null"]
    for name, more in (
        ("same", ["collect.allocations=7"]),
        ("other", ["collect.allocations=6", "prune.ratio=0.5"]),
    ):
        run = load_run(setting, [*given, *more, f"name={name}", f"output={tmp_path / name}"])
        collect_records(run)
    assert set(Corpus.load(corpus).settings()["setting"]) == {"same", "other"}
    with prepare_setting(
        load_run(setting, ["recipe.tune=null"]), tmp_path / "prepared", workers=1
    ) as prepared:
        learn_without(prepared, corpus, name="meta")
        (kept,) = (tmp_path / "prepared").glob("predictor-meta-*")  # named by the corpus it learned from
        card = json.loads((kept / "predictor.json").read_text())
    assert list(card["card"]["settings"].values()) == [6]


def test_a_smaller_adapter_is_found_and_confirmed(setting: str, tmp_path: Path) -> None:
    config = SmallerConfig(
        settings=(setting,), output=str(tmp_path / "smaller"), results=str(tmp_path / "smaller.json"),
        document=str(tmp_path / "smaller.md"), like_uniform=4, trials=10, corpus=CORPUS, attempts=2,
        final={"seeds": 2},
    )  # fmt: skip
    rows = find_smaller(config)
    assert [row["method"] for row in rows] == ["searched", "uniform", "started", "searched_started"]
    assert {"learning_rate", "initialisation"} <= set(rows[2]) & set(rows[3])
    tried = [
        json.loads(line)
        for path in (tmp_path / "smaller").rglob("rates/tuning/*-gradient-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert tried
    assert all(record["status"] == "ok" for record in tried)
    for row in rows:
        assert 0.1 <= row["share"] <= 1.0
        assert row["parameters"] == pytest.approx(row["share"] * row["parameters_uniform"])
        assert row["share_found"] <= row["share"]
        assert all(attempt["share"] < 1.0 for attempt in row["attempts"])
        passed = [attempt["share"] for attempt in row["attempts"] if attempt["accepted"]]
        assert [each["share"] for each in row["confirmed"]] == passed[: len(row["confirmed"])]
        held = [each["share"] for each in row["confirmed"] if each["accepted"]]
        assert len(held) >= len(row["confirmed"]) - 1  # the first that fails ends it
    assert find_smaller(config) == rows
    text = (tmp_path / "smaller.md").read_text()
    assert text == render_smaller(json.loads((tmp_path / "smaller.json").read_text()))
    shares = [f"{100 * row['share']:.1f} %" for row in rows]
    assert f"`ranks` {shares[0]}, `uniform` {shares[1]}, `init + rate` {shares[2]}" in text
    readme = tmp_path / "page.md"
    readme.write_text("<!-- generated:smaller-comparison -->\n<!-- /generated:smaller-comparison -->\n")
    assert fill_smaller(config.results, file=readme) == ["smaller-comparison"]
    assert all(f"{share} | {share} |" in readme.read_text() for share in shares)


def test_the_claim_is_searched_repeated_and_written_down(setting: str, tmp_path: Path) -> None:
    config = ParityConfig(
        settings=(setting,), output=str(tmp_path / "parity"), results=str(tmp_path / "parity.json"),
        document=str(tmp_path / "parity.md"), ratios=(0.3,), ranks=(2, 4, 6), uniform=4, initial=1, trials=2,
        repeats=2, skip_first=1, skip_last=0, final={"seeds": 2}, corpus=CORPUS,
    )  # fmt: skip
    rows = check_claim(config)
    assert [(row["method"], row["repeat"]) for row in rows] == [("paper", 0), ("paper", 1), ("ours", 0)]
    paper = rows[0]
    assert paper["slots"] == 3
    assert paper["values"][0] == 4
    assert paper["claimed_gain"] is not None
    text = (tmp_path / "parity.md").read_text()
    assert text == render_parity(json.loads((tmp_path / "parity.json").read_text()))
    assert "search 2" in text
    assert text.count("a rank out of 2, 4, 6 for each block, except 1 at the start and 0 at the end") == 1
    assert "a rank out of" not in render_parity([{**row, "paper": None} for row in rows])  # earlier versions


def test_faults_of_the_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("settings: [nowhere.yaml]\ntrails: 8\nmethods: [uniform, magic]\n")
    with pytest.raises(ConfigError, match=r"magic[\s\S]*line 2: trails.*trials"):
        load_job(path, ComparisonConfig)
    path.write_text("settings: [nowhere.yaml]\n")
    with pytest.raises(ConfigError, match=r"no run file nowhere.yaml"):
        load_job(path, ComparisonConfig)
    path.write_text("settings: [nowhere.yaml]\nbenchmarks: {names: [bolq, none.yaml]}\n")
    with pytest.raises(ConfigError, match=r"bolq[\s\S]*boolq[\s\S]*no such task file"):
        load_job(path, ComparisonConfig)
    path.write_text("settings: [nowhere.yaml]\ncorpus: meta_dta\n")
    with pytest.raises(ConfigError, match="no folder meta_dta"):
        load_job(path, ComparisonConfig)
    path.write_text("job: parity\nsettings: [nowhere.yaml]\nratios: [0.2, 20]\n")
    with pytest.raises(ConfigError, match=r"job: given 'parity'; allowed are methods"):
        load_job(path, ComparisonConfig)
    with pytest.raises(ConfigError, match="20"):
        load_job(path, ParityConfig)
