"""What can be known to fail is refused by `plan` and `run` alike, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rankadaptor.cli import main
from rankadaptor.config import build_run, dump_run
from rankadaptor.errors import InputError, StorageError
from rankadaptor.planning import check_run
from tests.bench import make_bench


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    monkeypatch.chdir(tmp_path)
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


def chats(bench):
    turns = [{"role": "user", "content": "Which metal?"}, {"role": "assistant", "content": "Copper."}]
    bench.rows.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(40)))
    return {}


def quantised(bench):
    path = bench.model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {"bits": 4}}))
    return {}


def torn_row(bench):
    bench.rows.write_text(bench.rows.read_text() + '{"prompt": "torn\n')
    return {}


def surplus(bench):
    bench.rows.write_text('{"prompt": "Which metal?", "response": " Copper.", "summary": "metals"}\n')
    return {}


CASES = {
    "chats without a template": (chats, ("data.train: ", "rows.jsonl", "no chat template")),
    "length beyond the positions": (
        lambda _: {"recipe__sequence_length": 513},
        ("recipe.sequence_length: ", "512 positions"),
    ),
    "data file that is not there": (
        lambda _: {"data__train": "absent.jsonl"},
        ("data.train: ", "absent.jsonl", "no such file"),
    ),
    "held-out file that is not there": (
        lambda _: {"data__held_out": "absent.jsonl"},
        ("data.held_out: ", "no such file"),
    ),
    "calibration file that is not there": (
        lambda _: {"prune": {"calibration": {"source": "absent.txt"}}},
        ("prune.calibration.source: ", "no such file"),
    ),
    "malformed row": (torn_row, ("rows.jsonl:41", "not valid JSON")),
    "text that no form uses": (surplus, ("rows.jsonl:1: summary would not be used",)),
    "all rows held out": (lambda _: {"data__held_out_rows": 40}, ("40 rows", "lower data.held_out_rows")),
    "skipping every block": (
        lambda _: {"prune": {"skip_first": 2, "skip_last": 1}},
        ("prune.skip_first, prune.skip_last", "3 blocks", "at most 2"),
    ),
    "model that is quantised": (quantised, ("already quantised",)),
    "predictor that is not there": (
        lambda _: {"search__predictor": "meta", "search__predictor_path": "absent"},
        ("search.predictor_path: absent: no predictor here", "meta-train"),
    ),
    "server that does not answer": (
        lambda _: {"track": {"enabled": True, "uri": "http://127.0.0.1:9"}},
        ("track.uri: ", "127.0.0.1:9"),
    ),
    "two faults at once": (
        lambda _: {"data__train": "absent.jsonl", "prune": {"importance": "l2", "skip_first": 3}},
        ("2 faults", "data.train: ", "skip_first"),
    ),
}


@pytest.mark.parametrize("verb", ["plan", "run", "collect"])
@pytest.mark.parametrize("name", CASES)
def test_bad_inputs_are_refused_by_every_command(name, verb, bench, capsys, monkeypatch):
    import rankadaptor.named_models

    monkeypatch.setattr(rankadaptor.named_models, "load", lambda *_, **__: pytest.fail("weights were read"))
    arrange, parts = CASES[name]
    if verb == "collect" and ("predictor" in name or "server" in name):
        pytest.skip("a collection needs neither")
    assert main(bench.command(verb, **arrange(bench))) == 2
    message = capsys.readouterr().err
    assert [part for part in parts if part not in message] == [], message
    assert not bench.output.exists()
    assert not (bench.folder / "mlruns").exists()


def test_a_run_that_is_refused_has_not_imported_torch(bench):
    arguments = bench.command("run", data__train="absent.jsonl")
    code = (
        "import sys; from rankadaptor.cli import main; assert main(sys.argv[1:]) == 2; "
        "assert not {'torch', 'transformers', 'mlflow', 'pandas', 'pyarrow'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_an_output_is_checked_without_touching_it(bench):
    config = build_run(bench.values())
    check_run(config)
    assert not bench.output.exists()
    bench.output.mkdir()
    (bench.output / "run.yaml").write_text(dump_run(build_run(bench.values(seed=3))))
    with pytest.raises(InputError, match="seed 3 → 0"):
        check_run(config)
    check_run(config, fresh=True)
    (bench.output / "run.yaml").write_text("- spoilt")
    with pytest.raises(InputError, match=r"the run file of this folder[\s\S]*--fresh"):
        check_run(config)
    (bench.folder / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be written"):
        check_run(config, output=bench.folder / "file" / "out")


def test_benchmarks_that_cannot_be_had_are_known_before_anything_is_trained(bench, capsys):
    (bench.folder / "task.yaml").write_text("task: mine\ndataset_path: no-one/no-such-data\n")
    assert main(bench.command("run", evaluate__benchmarks=["task.yaml"])) == 2
    message = capsys.readouterr().err
    assert "task.yaml: lm-eval cannot load it" in message
    assert "evaluate.benchmarks" in message
    assert not bench.output.exists()
