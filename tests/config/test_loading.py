"""Run files: what loads, what is refused, and that all faults come at once."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from rankadaptor.config import RunConfig, build_run, dump_run, load_run
from rankadaptor.config.template import write_template
from rankadaptor.errors import ConfigError


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def list_faults(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides)
    return caught.value.faults


def test_an_empty_file_is_a_run_with_defaults(tmp_path):
    config = load_run(write(tmp_path, "", "small.yaml"))
    assert (config.name, config.output, config.model) == ("small", "runs/small", "kit:smollm2-135m")
    assert config.space.like_uniform == 8


def test_a_file_called_run_is_named_after_its_folder(tmp_path):
    folder = tmp_path / "two words"
    folder.mkdir()
    config = load_run(write(folder, "output: null"))
    assert (config.name, config.output) == ("two-words", "runs/two-words")


def test_a_dumped_run_loads_to_an_equal_one(tmp_path):
    config = build_run(
        {
            "name": "x",
            "prune": None,
            "space": {"slots": "linear", "pinned": {3: 0}, "blocks": [0, 5], "megabytes": 1.5},
            "recipe": {"learning_rate": 1e-5, "tune": None},
        }
    )
    assert config.space.like_uniform is None  # gives way to the other budget
    again = load_run(write(tmp_path, dump_run(config)))
    assert again == config
    assert again.digest() == config.digest()


@pytest.mark.parametrize("name", ["1e-3", "5e4", "1E5", "3"])
def test_a_run_named_like_a_number_is_read_back(tmp_path, name):
    config = load_run(write(tmp_path, "seed: 1"), [f"name='{name}'", f"output='{name}'"])
    assert config.name == config.output == name
    assert load_run(write(tmp_path, dump_run(config))) == config
    assert load_run(write(tmp_path, write_template(config))) == config


def test_overrides_are_yaml_and_the_last_one_wins(tmp_path):
    path = write(tmp_path, "prune: null\n")
    config = load_run(
        path,
        [
            "recover.steps=50",
            "recover.steps=60",
            "space.ranks=[0, 8, 16]",
            "prune.ratio=0.3",
            "recipe.learning_rate=1e-4",
        ],
    )
    assert (config.recover.steps, config.space.ranks, config.recipe.learning_rate) == (60, (0, 8, 16), 1e-4)
    assert config.prune is not None
    assert config.prune.ratio == 0.3


def test_scientific_numbers_without_a_dot_are_numbers(tmp_path):
    assert load_run(write(tmp_path, "recipe: {learning_rate: 3e-3}")).recipe.learning_rate == 3e-3


def test_all_faults_of_file_and_overrides_come_at_once(tmp_path):
    path = write(
        tmp_path,
        """\
        seed: -1
        prune:
          ratio: 1.5
          importnce: l1
        space: {ranks: [0, 8, 4], slots: blok}
        recipe:
          batch_size: 8
          micro_batch_size: 3
        recover: {lr: 3e-3, learning_rate: 1}
        serch: {evaluations: 2}
        search: {evaluations: 0}
        """,
    )
    faults = list_faults(path, "compute.workers=x", "seed.b=1", "nothing")
    expected = [
        "--set seed.b: seed holds a value, not a section. Set seed itself.",
        "--set nothing: must be key=value, for example --set recover.steps=50.",
        "line 1: seed: given -1; must be at least 0.",
        "--set compute.workers: given 'x'; must be a whole number.",
        "line 3: prune.ratio: given 1.5; must be above 0 and below 1.",
        "line 4: prune.importnce: unknown key; did you mean prune.importance?",
        "line 5: space.slots: given 'blok'; allowed are block, half_block, linear; did you mean block?",
        "line 9: recover.lr: unknown key; did you mean recipe.learning_rate?",
        "line 9: recover.learning_rate: unknown key; did you mean recipe.learning_rate?",
        "line 10: serch: unknown key; did you mean search?",
        "line 11: search.evaluations: given 0; must be at least 1.",
        "line 5: space.ranks: given [0, 8, 4]; must ascend without repeats. Write [0, 4, 8].",
        "line 8: recipe.micro_batch_size: given 3, which does not divide recipe.batch_size 8. "
        "Allowed are [1, 2, 4, 8].",
    ]
    assert sorted(faults) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("seed: [1\nmodel: x\n", "line 2", "not valid YAML"),
        ("a: b: c\n", "line 1", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "line 2", "given again, first on line 1"),
        ("prune:\n  ratio: 0.1\n  ratio: 0.2\n", "line 3", "prune.ratio"),
        ("- 1\n- 2\n", "line 1", "keys with values"),
        ("prune: 0.3\n", "line 1", "must be a section"),
        ("compute: {threads: true}\n", "line 1", "whole number"),
        ("compute: {threads: 1.0}\n", "line 1", "whole number"),
        ("evaluate: {benchmarks: boolq}\n", "line 1", "must be a list"),
        ("recipe: {learning_rate: .nan}\n", "line 1", "finite"),
        ("name: a/b\n", "line 1", "letters"),
        ("space: {blocks: [1]}\n", "line 1", "another entry"),
        ("space: {blocks: [1, 2, 3]}\n", "line 1", "at most 2"),
        ("space: {pinned: {first: 2}}\n", "line 1", "space.pinned.first"),
        ("recipe: {steps: 7}\n", "line 1", "did you mean recover.steps?"),
        ("model: 2024-01-01\noutput: ''\n", "line 2", "must not be empty"),
    ],
)
def test_faults_name_their_line(tmp_path, text, where, what):
    faults = list_faults(write(tmp_path, text))
    assert len(faults) == 1
    assert faults[0].startswith(f"{where}")
    assert what in faults[0]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "rankadaptor init" in list_faults(tmp_path / "absent.yaml")[0]
    assert "a folder, not a file" in list_faults(tmp_path)[0]
    (tmp_path / "latin1.yaml").write_bytes("name: é\n".encode("latin-1"))
    assert "iconv -f LATIN1 -t UTF-8" in list_faults(tmp_path / "latin1.yaml")[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_tools_are_read(tmp_path, encoding):
    (tmp_path / "own.yaml").write_bytes("# é\r\nmodel: kit:smollm2-135m\r\n".encode(encoding))
    assert load_run(tmp_path / "own.yaml").model == "kit:smollm2-135m"


@pytest.mark.parametrize(
    ("values", "key", "what"),
    [
        ({"model": "kit:smollm2-136m"}, "model", "Did you mean kit:smollm2-135m?"),
        ({"data": {"train": "kit:alpca"}}, "data.train", "Did you mean kit:alpaca?"),
        ({"evaluate": {"benchmarks": ["boolq", "piqua"]}}, "evaluate.benchmarks", "Did you mean piqa?"),
        ({"space": {"like_uniform": 8, "parameters": 100}}, "space.like_uniform", "exactly one"),
        ({"space": {"like_uniform": None}}, "space.like_uniform", "no budget"),
        ({"space": {"ranks": [-1, 8]}}, "space.ranks", "0 or more"),
        ({"space": {"ranks": [0, 8, 8]}}, "space.ranks", "without repeats"),
        ({"space": {"ranks": [0]}}, "space.ranks", "above 0"),
        ({"space": {"ranks": [0, 4], "like_uniform": 8}}, "space.ranks", "without 8"),
        ({"space": {"blocks": [5, 2]}}, "space.blocks", "first <= last"),
        ({"space": {"blocks": [2, 5], "pinned": {7: 4}}}, "space.pinned", "outside space.blocks"),
        ({"space": {"pinned": {0: -1}}}, "space.pinned", "0 or more"),
        ({"space": {"mode": "rank_sum", "parameters": 100}}, "space.mode", "like_uniform"),
        ({"recipe": {"tune": {"learning_rates": [0.0]}}}, "recipe.tune.learning_rates", "above 0"),
        (
            {"recipe": {"tune": {"scaling_exponents": [2.0]}}},
            "recipe.tune.scaling_exponents",
            "between 0 and 1",
        ),
        ({"data": {"train": "kit:wiki", "held_out": "kit:wiki"}}, "data.held_out", "null"),
        ({"evaluate": {"benchmarks": ["none.yaml"]}}, "evaluate.benchmarks", "no such task file"),
        ({"measure": {"kind": "spectra"}, "compute": {"quantise": "int8"}}, "measure.kind", "no"),
        (
            {"measure": {"kind": "reconstruction"}, "prune": {"targets": ["blocks"]}},
            "measure.kind",
            "taken out",
        ),
        ({"measure": {"steps": 50}}, "measure.steps", "elastic"),
        ({"measure": {"kind": "elastic", "rungs": [4, 8]}}, "measure.rungs", "successive_halving"),
        ({"search": {"steps": 800}}, "search.steps", "more than the 400 steps"),
        ({"search": {"predictor": "ridge", "predictor_path": "x"}}, "search.predictor_path", "null"),
        ({"evaluate": {"benchmarks": ["piqa", "piqa"]}}, "evaluate.benchmarks", "once"),
        ({"collect": {"benchmarks": {"names": ["piqa"]}}}, "collect.benchmarks", "no longer a key"),
        ({"evaluate": {"models": ["random"]}}, "evaluate.models", "recover.baselines"),
        ({"collect": {"lengths": {"steps": [0]}}}, "collect.lengths.steps", "1 or more"),
        ({"collect": {"curve": [4, 4]}}, "collect.curve", "once"),
        ({"collect": {"study": {"exponents": [0.5]}}}, "collect.study", "no longer a key"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(values, key, what):
    with pytest.raises(ConfigError) as caught:
        build_run(values)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{key}: ")
    assert what in caught.value.faults[0]


def test_files_of_earlier_versions_are_read():
    assert build_run({"collect": {"study": None, "benchmarks": None}}) == build_run({})


def test_a_run_cannot_be_changed():
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
