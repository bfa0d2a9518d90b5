"""Every kind of bad input ends in one message: what was given, what is allowed, what to do next.

Through the command line wherever it can come that way: exit code 2 and no traceback.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.cli import main
from rankadaptor.config import build_run, dump_run
from rankadaptor.errors import RankAdaptorError
from tests.bench import Bench, make_bench

Attempt = list[str] | Callable[[], object]


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


def keep_config(bench: Bench, **fields: Any) -> None:
    path = bench.model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def foreign_architecture(bench: Bench) -> Attempt:
    keep_config(bench, model_type="mamba", architectures=["MambaForCausalLM"])
    return bench.command("run")


def foreign_architecture_in_a_plan(bench: Bench) -> Attempt:
    keep_config(bench, model_type="mamba")
    return bench.command("plan")


def empty_data(bench: Bench) -> Attempt:
    bench.rows.write_text("")
    return bench.command("run")


def malformed_data(bench: Bench) -> Attempt:
    lines = bench.rows.read_text().splitlines()
    bench.rows.write_text("\n".join([*lines[:2], '{"prompt": "torn', *lines[3:]]))
    return bench.command("run")


def data_without_the_fields(bench: Bench) -> Attempt:
    lines = bench.rows.read_text().splitlines()
    bench.rows.write_text("\n".join([*lines[:4], '{"question": "x"}']))
    return bench.command("run")


def truncated_weights(bench: Bench) -> Attempt:
    weights = bench.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return bench.command("run")


def spoil_weights(bench: Bench) -> None:
    from safetensors.torch import load_file, save_file

    path = bench.model / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


def broken_weights(bench: Bench) -> Attempt:
    spoil_weights(bench)
    return bench.command("run", prune__importance="l2")


def broken_weights_that_are_not_pruned(bench: Bench) -> Attempt:
    spoil_weights(bench)
    return bench.command("run", prune=None)


def missing_tokenizer(bench: Bench) -> Attempt:
    (bench.model / "tokenizer.json").unlink()
    return bench.command("plan")


def quantised_model(bench: Bench) -> Attempt:
    keep_config(bench, quantization_config={"quant_method": "gptq", "bits": 4})
    return bench.command("run")


def missing_benchmark_file(bench: Bench) -> Attempt:
    from rankadaptor.evaluation import evaluate
    from rankadaptor.named_models import load

    model, tokenizer = load(bench.model)
    return lambda: evaluate(model, tokenizer, benchmarks=[str(bench.folder / "absent.yaml")])


def corpus_of_another_schema(bench: Bench) -> Attempt:
    corpus = make_corpus(bench)
    records = corpus / "records" / "s.jsonl"
    first = json.loads(records.read_text())
    records.write_text(json.dumps(first) + "\n" + json.dumps({**first, "schema": 99, "seed": 1}) + "\n")
    return bench.command("meta-train", collect__corpus=str(corpus))


def make_corpus(bench: Bench) -> Path:
    from rankadaptor.corpus import Corpus, Record, Setting

    space = make_space(bench, ranks=[1, 2])
    corpus = Corpus.create(bench.folder / "corpus")
    corpus.add_setting(
        Setting(
            name="s", model={}, pruning={}, data={}, recipe={}, space=space.to_json(), held_out=False,
            pruned_loss=None, dense_loss=None,
        )
    )  # fmt: skip
    corpus.append(
        Record.of_fine_tune(
            setting="s", values=space.reference().values, seed=0, steps=2, fidelity=0.5, loss=3.0,
            loss_reference=3.0, parameters=space.bounds[0], tokens=10, seconds=0.1, status="ok",
        )
    )  # fmt: skip
    return bench.folder / "corpus"


def make_space(bench: Bench, ranks: Sequence[int], blocks: int = 3) -> Any:
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.planning.shape import read_shape

    linears = [linear for linear in read_shape(str(bench.model)).linears if linear.block < blocks]
    return RankSpace.from_linears(linears, like_uniform=2, ranks=ranks, slots="block")


def allocation_of_another_model(bench: Bench) -> Attempt:
    from rankadaptor.space import Allocation

    stored = make_space(bench, [0, 2, 4], blocks=2).reference().to_json()
    return lambda: Allocation.from_json(stored, make_space(bench, [0, 2, 4]))


def folder_of_another_run(bench: Bench) -> Attempt:
    bench.output.mkdir()
    (bench.output / "run.yaml").write_text(dump_run(build_run(bench.values(search__steps=3))))
    return bench.command("run")


def output_below_a_file(bench: Bench) -> Attempt:
    (bench.folder / "file").write_text("")
    return bench.command("run", output=str(bench.folder / "file" / "out"))


def output_that_is_a_file(bench: Bench) -> Attempt:
    bench.output.write_text("")
    return bench.command("run")


def full_disk(bench: Bench) -> Attempt:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bench.monkeypatch.setattr(os, "fsync", refuse)
    return bench.command("run")


def diverging_everywhere(bench: Bench) -> Attempt:
    return bench.command("run", recipe__learning_rate=1e30)


def change(verb: str, **changes: Any) -> Callable[[Bench], Attempt]:
    return lambda bench: bench.command(verb, **changes)


# Name, how it comes about, and what the message must hold: the given, the allowed, the next step.
CASES: dict[str, tuple[Callable[[Bench], Attempt], tuple[str, ...]]] = {
    "unknown key": (change("plan", warmup=3), ("warmup: unknown key", "recipe.warmup_share")),
    "misspelt key": (
        change("plan", search__evalutions=3),
        ("line 35", "search.evalutions", "did you mean search.evaluations?"),
    ),
    "wrong type": (change("run", seed="one"), ("seed: given 'one'", "must be a whole number")),
    "ratio outside (0, 1)": (
        change("run", prune__ratio=1.2),
        ("prune.ratio: given 1.2", "above 0 and below 1"),
    ),
    "ratio of nothing": (change("run", prune__ratio=0), ("prune.ratio: given 0", "above 0 and below 1")),
    "budget that no allocation meets": (
        change("plan", space={"ranks": [1, 2], "parameters": 10}),
        ("budget 10", "rank 1 costs", "Raise"),
    ),
    "such a budget in a run": (
        change("run", space={"ranks": [1, 2], "parameters": 10}),
        ("budget 10", "rank 1 costs", "Raise"),
    ),
    "negative rank": (change("plan", space__ranks=[-1, 2]), ("given [-1, 2]", "0 or more", "Remove")),
    "rank above a linear's width": (
        change("run", space__ranks=[0, 2, 500]),
        ("rank 500", "allows at most", "Leave larger ranks out"),
    ),
    "block range outside the model": (
        change("plan", space__blocks=[1, 9]),
        ("blocks=(1, 9)", "blocks 0 to 2", "Give the first and the last"),
    ),
    "block range that is turned round": (
        change("plan", space__blocks=[2, 1]),
        ("given [2, 1]", "first <= last"),
    ),
    "skipping every block": (change("run", prune__skip_first=3), ("skip_first=3", "at most 2")),
    "unsupported architecture": (foreign_architecture, ("mamba", "Supported: llama", "docs/how-to")),
    "unsupported architecture in a plan": (foreign_architecture_in_a_plan, ("mamba", "Supported: llama")),
    "model that is not there": (change("run", model="./absent"), ("absent", "Give a folder")),
    "data file that is not there": (
        change("run", data__train="absent.jsonl"),
        ("absent.jsonl", "no such file"),
    ),
    "empty data file": (empty_data, ("rows.jsonl", "no row")),
    "malformed data file": (malformed_data, ("rows.jsonl:3", "not valid JSON", "A line is one JSON object")),
    "row without its fields": (data_without_the_fields, ("rows.jsonl:5", "question", "prompt")),
    "data shorter than one batch": (
        change("run", recipe__batch_size=64, recipe__micro_batch_size=4),
        ("32", "64", "batch"),
    ),
    "missing benchmark": (
        change("run", evaluate__benchmarks=["boolqq"]),
        ("given 'boolqq'", "allowed are", "Did you mean boolq?"),
    ),
    "missing benchmark file": (
        missing_benchmark_file,
        ("absent.yaml", "no such benchmark file", "Give a YAML file"),
    ),
    "truncated safetensors": (truncated_weights, ("model", "safetensors", "again")),
    "NaN in the weights": (
        broken_weights,
        ("model.layers.1.mlp.up_proj.weight (1 NaN", "earlier checkpoint"),
    ),
    "NaN in weights that are not pruned": (
        broken_weights_that_are_not_pruned,
        ("held-out loss is nan", "model.layers.1.mlp.up_proj.weight (1 NaN"),
    ),
    "missing tokenizer in a plan": (
        missing_tokenizer,
        ("no usable tokenizer", "tokenizer files of the base"),
    ),
    "quantised model": (quantised_model, ("already quantised (gptq, 4 bits)", "compute.quantise")),
    "corpus of another schema": (corpus_of_another_schema, ("s.jsonl:2", "99", "1")),
    "allocation of another model": (allocation_of_another_model, ("made for", "at hand", "Load the model")),
    "output folder of another run": (
        folder_of_another_run,
        ("search.steps 3 → 2", "--fresh", "another output"),
    ),
    "unwritable output": (output_below_a_file, ("file", "cannot be written", "writable folder")),
    "output that is a file": (output_that_is_a_file, ("out", "cannot be written", "writable folder")),
    "full disk": (full_disk, ("No space left", "Nothing already measured is lost", "same command")),
    "a loss that is never a number": (diverging_everywhere, ("failed", "Lower recipe.learning_rate")),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_a_message_that_helps(name, bench, capsys):
    arrange, parts = CASES[name]
    attempt = arrange(bench)
    if callable(attempt):
        with pytest.raises(RankAdaptorError) as caught:
            attempt()
        message = str(caught.value)
    else:
        assert main(attempt) == 2  # anything but a RankAdaptorError would come through
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert "error: " in message
        message = message[message.index("error: ") :]
    assert [part for part in parts if part not in message] == [], message


def test_a_trial_whose_loss_becomes_nan_is_recorded_as_failed_and_the_search_goes_on(bench):
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.corpus import RecordFile
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.named_models import load
    from rankadaptor.predictor import make_predictor
    from rankadaptor.recipe import Recipe
    from rankadaptor.search import Search

    model, tokenizer = load(bench.model)
    space = RankSpace.from_model(model, like_uniform=2, ranks=[0, 2, 4], slots="block")
    records = RecordFile(bench.folder / "records.jsonl")
    measure = ShortFineTune(
        model,
        tokenizer,
        data=bench.rows,
        held_out_rows=8,
        recipe=Recipe(batch_size=4, micro_batch_size=4, sequence_length=32, steps=4),
        steps=2,
        records=records,
    )
    search = Search(space, make_predictor("ridge"), candidates=20)
    poisoned = search.ask()[0].values
    assert poisoned != space.reference().values

    def measure_with_one_poisoned(allocation):
        if allocation.values != poisoned:
            return measure(allocation)
        measure(space.reference())
        hook = model.model.norm.register_forward_hook(lambda _module, _given, hidden: hidden * float("nan"))
        try:
            return measure(allocation)
        finally:
            hook.remove()

    result = search.run(measure_with_one_poisoned, evaluations=3)
    assert [record.status for record in result.records] == ["failed", "ok", "ok"]
    assert result.records[0].gain is None
    assert "nan" in (result.records[0].error or "")
    assert result.best.values != poisoned
    assert [record.status for record in RecordFile(records.path).records].count("failed") == 1
