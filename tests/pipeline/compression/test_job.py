"""A whole compression at pico size: from one command to a file that the engine runs, and its continuation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from rankadaptor import load
from rankadaptor.cli import main
from rankadaptor.cli.results import show_result
from rankadaptor.config import build_compression
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.engine.quantisers import round_trip
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.pipeline.compression import recovering, run_compression
from rankadaptor.pipeline.compression.candidates import Candidate
from rankadaptor.pipeline.compression.finalists import read_chosen
from rankadaptor.pipeline.compression.judging import judge
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.step_files import read_step
from rankadaptor.planning.compression_plan import estimate_compression
from rankadaptor.runtime import choose_compute

SIZE = "80KB"


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Path:
    """A pico model whose widths every type of block 32 fits, and two texts."""
    folder = tmp_path_factory.mktemp("compress")
    model = pico_model("llama", blocks=3, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(folder / "model")
    pico_tokenizer.save_pretrained(folder / "model")
    lines = [
        f"Line {n}: the fox jumps over dog {n * 7 % 13} and under bridge {n * n % 17}." for n in range(120)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    (folder / "other.txt").write_text("\n".join(f"{n} plus {n + 1} is {2 * n + 1}." for n in range(120)))
    return folder


def describe(source: Path, output: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "pico",
        "output": str(output),
        "model": str(source / "model"),
        "limits": {"size": SIZE},
        "compute": {"threads": 1},
        "data": {
            "text": [str(source / "text.txt")],
            "other": str(source / "other.txt"),
            "length": 16,
            "search_sequences": 8,
            "judge_sequences": 12,
        },
        "choices": {"importance_rows": 4, "types": ["Q8_0", "Q4_0"], "embedding": ["Q8_0", "Q4_0"]},
        "search": {"evaluations": 20, "screen_sequences": 4, "finalists": 1},
        "recover": {"steps": 3, "finalist_steps": 2, "rank": 2, "batch_size": 4, "learning_rates": [1e-3]},
        "references": ["stock", "stock_importance", "stock_recovered", "uniform", "sequential", "optimum"],
        "stock_types": ["Q8_0", "Q4_0"],
        "export": {"prompt": 32, "generated": 4, "check_tokens": 8},
        "track": {"enabled": False},
    }
    return values | changes


@pytest.fixture(scope="module")
def finished(source: Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the document of a whole run."""
    output = source / "out"
    return output, run_compression(build_compression(describe(source, output)))


def test_one_command_gives_a_checked_file_of_the_planned_size(finished: tuple[Path, dict[str, Any]]):
    folder, document = finished
    result = document["result"]
    exported, engine = result["export"], result["export"]["engine"]
    assert (folder / "model.gguf").stat().st_size == exported["bytes"] == exported["planned"]["bytes"]
    assert exported["bytes"] <= 80_000
    assert exported["parameters"] == exported["planned"]["parameters"]
    assert engine["greedy_equal"] == engine["greedy_tokens"] == 8
    assert engine["loss_agrees"]
    assert sum(result["search"]["evaluations"].values()) <= 20
    points = result["points"]
    assert points[0]["kind"] == "ours"
    assert {point["kind"] for point in points} == {"ours", "stock", "baseline", "sequential"}
    assert {point["recovered"] for point in points if point["kind"] == "stock"} == {True, False}
    assert all(set(point["losses"]) == {"judging", "other"} for point in points)
    assert result["verdict"]["outcome"] in ("better", "no difference", "worse", "no verdict")


def test_a_recovery_that_makes_it_worse_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def merge_badly(*given: Any) -> Any:
        model = recovering_merge(*given)
        model.get_output_embeddings().weight.data.mul_(20)
        return model

    recovering_merge = recovering.merge_trained
    monkeypatch.setattr(recovering, "merge_trained", merge_badly)
    values = describe(source, tmp_path / "out", limits={"size": "64KB"}, references=["stock"])
    document = run_compression(build_compression(values))
    recovery, ours = document["result"]["recovery"], document["result"]["points"][0]
    assert recovery["after"] > recovery["before"]
    assert not recovery["kept"]
    assert ours["kind"] == "ours"
    assert not ours["recovered"]
    assert "gained nothing" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_rule_that_chooses_the_same_is_named_and_not_compared(finished: tuple[Path, dict[str, Any]]):
    folder, document = finished
    steps = {
        name: read_json(folder / "steps" / f"{name}.json") for name in ("recover", "export", "finalists")
    }
    config = build_compression(document["run"]["config"])
    setting = Setting.of_run(RunFolder(folder, config.digest(), config=config), config)
    chosen = read_chosen(steps["finalists"])
    same = Candidate("optimum", "baseline", chosen.choices)
    judged = judge(setting, chosen, steps["recover"], steps["export"], [], [same])
    points = {point["name"]: point for point in judged["points"]}
    assert points["optimum, recovered"]["losses"] == points["ours"]["losses"]
    assert points["optimum, recovered"]["kind"] == "baseline"
    assert judged["verdict"]["outcome"] == "no verdict"
    assert judged["verdict"]["sentence"].endswith("The configuration is also that of optimum.")


def test_references_of_the_sweep_and_of_importance_weights_are_files_at_the_same_limits(
    finished: tuple[Path, dict[str, Any]],
):
    folder, document = finished
    points = {point["name"]: point for point in document["result"]["points"]}
    first, optimum = (
        next(point for name, point in points.items() if name.startswith(start) and name.endswith("recovered"))
        for start in ("sequential ", "optimum")
    )
    assert first["kind"] == "sequential"
    assert first["recovered"]
    assert max(first["bytes"], optimum["bytes"]) <= 80_000
    finalists = document["result"]["finalists"]["finalists"]
    assert [each["name"].split()[0] for each in finalists[:2]] == ["search", "uniform"]
    assert len({tuple(each["choices"]) for each in finalists}) == len(finalists)  # none is recovered twice
    steps = {name: read_json(folder / "steps" / f"{name}.json") for name in ("baselines", "search")}
    found = {each["name"]: each["choices"] for each in steps["baselines"]["found"]}
    assert found["optimum"] == steps["search"]["optimum"]

    weighted = points["stock Q4_0, importance weights"]
    plain = points["stock Q4_0"]
    assert weighted["bytes"] == plain["bytes"]  # too few blocks for the types that weights change
    assert weighted["sha256"] != plain["sha256"]
    assert weighted["losses"] != plain["losses"]
    assert not any("Q8_0, importance" in name for name in points)  # nothing is weighed in it
    assert all(not point["recovered"] for name, point in points.items() if "importance" in name)


def test_the_report_shows_the_gain_first_and_loads_nothing(
    finished: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    folder, document = finished
    page = (folder / "report.html").read_text(encoding="utf-8")
    headline = page.partition('<section id="verdict"')[2].partition("</section>")[0]
    assert f"{document['result']['export']['bytes'] / 1e3:.1f} kB" in headline
    assert {f'id="figure-{name}"' in page for name in ("sizes", "sizes_other", "speeds", "layers")} == {True}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert main(["report", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Planned and real costs" in shown
    sample = document["result"]["export"]["engine"]["sample"]
    assert f"{sample['prompt']}<mark>{escape(sample['continuation'])}</mark>" in page
    assert main(["generate", str(folder / "model.gguf"), "-n", "48"]) == 0
    assert capsys.readouterr().out == f"{sample['prompt']}{sample['continuation']}\n"
    show_result(document, place=folder)  # as `compress` and `run` do at their end
    shown = capsys.readouterr().out
    assert f'rankadaptor generate {folder / "model.gguf"} "{sample["prompt"]}"' in shown


def test_a_continued_run_reads_what_is_there_and_refuses_other_limits(
    finished: tuple[Path, dict[str, Any]], source: Path
):
    folder, document = finished
    steps = {path: path.stat().st_mtime_ns for path in (folder / "steps").iterdir()}
    again = run_compression(build_compression(describe(source, folder)))
    assert again["result"] == document["result"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "steps").iterdir()} == steps
    other = build_compression(describe(source, folder, limits={"size": "60KB"}))
    with pytest.raises(InputError, match=r"limits\.size 80KB → 60KB[\s\S]*--fresh.*another output"):
        run_compression(other)


def test_a_recovery_through_the_quantiser_gives_the_weights_of_the_file(source: Path, tmp_path: Path):
    recover = {"steps": 6, "finalist_steps": 2, "rank": 2, "batch_size": 4, "learning_rates": [1e-2]}
    values = describe(
        source, tmp_path / "out", recover=recover | {"quantisation_aware": True},
        references=["stock_recovered"], stock_types=["Q8_0", "Q4_0", "IQ4_NL"],
    )  # fmt: skip
    document = run_compression(build_compression(values))
    result, folder = document["result"], tmp_path / "out"
    assert result["recovery"]["kept"]
    assert result["export"]["bytes"] == result["export"]["planned"]["bytes"]
    assert result["export"]["engine"]["loss_agrees"]
    types = read_json(folder / "steps" / "recover.json")["types"]
    model, _ = load(folder / "model", compute=choose_compute(dtype="float32"))
    for name, kind in types.items():
        weight = model.get_submodule(name).weight.detach().float().numpy()
        assert np.array_equal(round_trip(weight, kind), weight), name
    # Each type has levels of its own, so that the dense model is recovered once for each.
    stock = {path.parent.name for path in (folder / "stock_recovered").glob("*/training.json")}
    assert stock == {"stock-Q8_0-0.01", "stock-Q4_0-0.01", "stock-IQ4_NL-0.01"}
    points = [point for point in result["points"] if point["kind"] == "stock"]
    assert {point["name"] for point in points} == {
        f"stock {name}, recovered" for name in ("Q8_0", "Q4_0", "IQ4_NL")
    }


def test_stock_types_are_chosen_and_an_unknown_one_is_named_before_anything_runs(
    finished: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path
):
    names = {point["name"] for point in finished[1]["result"]["points"] if point["kind"] == "stock"}
    assert {name.split()[1].rstrip(",") for name in names} == {"Q8_0", "Q4_0"}
    config = build_compression(describe(source, tmp_path / "out", stock_types=["Q4_0", "Q4_9"]))
    with pytest.raises(InputError, match=r"stock_types: no stock type Q4_9\. Choose from F16, .*Q4_K_M"):
        run_compression(config)
    assert not (tmp_path / "out").exists()


def test_other_stock_files_repeat_neither_finalists_nor_recovery(
    finished: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path
):
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    kept = [folder / "steps" / f"{name}.json" for name in ("finalists", "recover", "export", "references")]
    kept += [folder / "model.gguf", *sorted((folder / "finalists").rglob("*"))]
    before = {path: path.stat().st_mtime_ns for path in kept}
    changed = describe(source, folder, references=["stock", "uniform", "sequential", "optimum"])
    document = run_compression(build_compression(changed))
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    names = {point["name"] for point in document["result"]["points"]}
    assert "stock Q4_0" in names
    assert not any("importance" in name or name == "stock Q4_0, recovered" for name in names)


def test_two_workers_find_what_one_finds(finished: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path):
    values = describe(source, tmp_path / "out", compute={"threads": 2})
    two, one = run_compression(build_compression(values))["result"], finished[1]["result"]
    assert two["compute"]["threads"] == 2
    for part in ("losses", "chosen", "verdict"):
        assert two[part] == one[part]
    tried = [[{**each, "seconds": None} for each in found["finalists"]["finalists"]] for found in (two, one)]
    assert tried[0] == tried[1]
    assert [each["kl"] for each in two["search"]["history"]] == [
        each["kl"] for each in one["search"]["history"]
    ]
    assert two["export"]["sha256"] == one["export"]["sha256"]
    points = [{**point, "speed": point["speed"] is None} for point in one["points"]]
    assert [{**point, "speed": point["speed"] is None} for point in two["points"]] == points
    assert not list((tmp_path / "out").rglob("*/*.gguf"))


def test_a_longer_recovery_keeps_the_search(
    finished: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path
):
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    longer = {**describe(source, folder)["recover"], "steps": 4}
    document = run_compression(build_compression(describe(source, folder, recover=longer)))
    assert document["result"]["search"] == finished[1]["result"]["search"]
    trained = document["result"]["cost"]["tokens_trained"]
    assert trained["recover"] == 4 * 4 * 16


def test_scores_of_a_recovered_model_repeat_whatever_follows(source: Path, tmp_path: Path):
    output, search = tmp_path / "out", {"evaluations": 20, "finalists": 1, "recovered_steps": 2}
    changes = {"search": search, "references": [], "export": {"engine": False, "sample": None}}
    values = describe(source, output, **changes)
    found = run_compression(build_compression(values))["result"]
    step = read_step(output / "steps" / "scored_model.json", "scored_model", job="compress")
    assert step["loss"] < step["loss_dense"]
    assert found["cost"]["tokens_trained"]["scored_model"] == step["tokens"] == 2 * 4 * 16
    longer = build_compression(describe(source, output, **changes, recover=values["recover"] | {"steps": 5}))
    again = run_compression(longer)["result"]
    scores = [each["kl"] for each in found["search"]["history"]]
    assert [each["kl"] for each in again["search"]["history"]] == scores
    two = build_compression(describe(source, tmp_path / "two", **changes, compute={"threads": 2}))
    assert [each["kl"] for each in run_compression(two)["result"]["search"]["history"]] == scores
    setting = Setting.of_run(RunFolder(output, longer.digest(), config=longer), longer)
    dense, scored = (dict(each.model.named_parameters()) for each in (setting.live, setting.scored))
    changed = {
        name for name, value in scored.items() if not np.array_equal(value.detach(), dense[name].detach())
    }
    assert changed
    assert all("_proj" in name for name in changed)
    with pytest.raises(InputError, match=r"search\.recovered_steps: 2 steps, but recover is null"):
        run_compression(build_compression(describe(source, tmp_path / "none", **changes, recover=None)))


def test_stock_files_far_above_the_limit_are_not_recovered(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    values = describe(source, tmp_path / "out", limits={"size": "50KB"}, references=["stock_recovered"])
    values["export"] = {"engine": False}
    with caplog.at_level("INFO"):
        document = run_compression(build_compression(values))
    (reason,) = document["result"]["skipped"]
    assert reason in caplog.text
    assert "times the limit of 50,000" in reason
    assert document["result"]["cost"]["tokens_trained"]["stock_recovered"] == 0
    assert {point["kind"] for point in document["result"]["points"]} == {"ours"}
    assert reason[1:] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_limit_that_cannot_be_kept_names_the_nearest(source: Path, tmp_path: Path):
    config = build_compression(describe(source, tmp_path / "out", limits={"size": "2KB"}))
    with pytest.raises(BudgetError, match=r"limits\.size: given 2KB: the embedding of .* alone takes"):
        run_compression(config)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_ends_as_an_undisturbed_one(
    finished: tuple[Path, dict[str, Any]], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = build_compression(describe(source, tmp_path / "out"))
    append = RecordFile.append

    def append_some(file: RecordFile, record: Record) -> bool:
        if len(file) == 7:
            raise KeyboardInterrupt
        return append(file, record)

    monkeypatch.setattr(RecordFile, "append", append_some)
    with pytest.raises(KeyboardInterrupt):
        run_compression(config)
    monkeypatch.setattr(RecordFile, "append", append)
    assert not (tmp_path / "out" / "steps" / "sweep.json").exists()
    (tmp_path / "out" / ".model.gguf.12345678").write_bytes(b"half a file")
    result, undisturbed = run_compression(config)["result"], finished[1]["result"]
    assert result["chosen"] == undisturbed["chosen"]
    assert result["verdict"] == undisturbed["verdict"]
    assert result["export"]["sha256"] == undisturbed["export"]["sha256"]


def test_searched_ranks_are_used_only_if_fresh_seeds_confirm_them(source: Path, tmp_path: Path):
    recover = {"steps": 3, "finalist_steps": 2, "rank": 2, "batch_size": 4, "learning_rates": [1e-2]}
    recover |= {"ranks": "searched", "rank_evaluations": 2, "rank_seeds": 2}
    limits = {"size": "64KB"}
    values = describe(source, tmp_path / "out", limits=limits, recover=recover, references=["stock"])
    document = run_compression(build_compression(values))
    result, folder = document["result"], tmp_path / "out"
    ranked, verdict = result["ranks"], result["ranks"]["verdict"]
    assert len(ranked["history"]) == 2
    assert len(verdict["seeds"]) == 2
    assert (ranked["ranks"] is not None) == (verdict["outcome"] == "better")
    assert ranked["searched"] != [2] * len(ranked["slots"])
    records = RecordFile(folder / "ranks" / "records.jsonl").records
    assert len(records) == 1 + 2 + 2 * 2  # uniform once a seed
    assert result["cost"]["tokens_trained"]["ranks"] == sum(record.tokens for record in records)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"Rank search: {verdict['sentence']}" in page

    # Two processes find the same.
    (folder / "steps" / "ranks.json").unlink()
    shutil.rmtree(folder / "ranks")
    parallel = {**values, "compute": {"threads": 2}}
    both = run_compression(build_compression(parallel))["result"]["ranks"]
    assert {**both, "seconds": 0.0} == {**ranked, "seconds": 0.0}
    assert len(RecordFile(folder / "ranks" / "records.jsonl").records) == len(records)

    # A verdict of "better" reaches the recovered weights: the same configuration then gives another file.
    (folder / "steps" / "recover.json").unlink()
    (folder / "steps" / "export.json").unlink()
    (folder / "steps" / "judge.json").unlink()
    shutil.rmtree(folder / "recovered")
    step = read_json(folder / "steps" / "ranks.json")
    other = None if ranked["ranks"] is not None else ranked["searched"]
    write_json(folder / "steps" / "ranks.json", {**step, "ranks": other})
    again = run_compression(build_compression(values))["result"]
    assert again["chosen"] == result["chosen"]
    assert again["export"]["sha256"] != result["export"]["sha256"]


def test_recoveries_follow_the_dense_model(source: Path, tmp_path: Path):
    recover = {**describe(source, tmp_path)["recover"], "loss": "distill", "hidden_weight": 0.5}
    changes = {"recover": recover, "references": ["uniform"], "export": {"engine": False}}
    config = build_compression(describe(source, tmp_path / "out", **changes))
    run_compression(config)
    step = read_json(tmp_path / "out" / "steps" / "recover.json")
    result = step.get("result", step)
    assert result["teacher"]["tokens"] == result["tokens"] > 0
    assert result["teacher"]["seconds"] > 0
    planned = {each.name: each for each in estimate_compression(config).steps}
    changes["recover"] = {**recover, "loss": "plain", "hidden_weight": 0.0}
    plain = build_compression(describe(source, tmp_path / "out", **changes))
    before = {each.name: each for each in estimate_compression(plain).steps}
    for name in ("finalists", "recover", "references"):
        assert planned[name].seconds > before[name].seconds
        assert planned[name].peak_bytes > before[name].peak_bytes
