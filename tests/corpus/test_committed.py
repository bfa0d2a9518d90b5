"""The committed corpus holds what its schema, its settings and its list of held-out settings say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rankadaptor.components.adapter import describe_budget
from rankadaptor.corpus import Corpus
from tests.documents import ROOT

FOLDER = ROOT / "meta_data"
HELD_OUT = FOLDER / "held_out.txt"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.load(FOLDER)


def read_held_out() -> list[str]:
    lines = [line.partition("#")[0].strip() for line in HELD_OUT.read_text("utf-8").splitlines()]
    return [line for line in lines if line]


def test_the_held_out_settings_are_those_of_the_one_file(corpus: Corpus) -> None:
    named = read_held_out()
    assert len(named) == len(set(named))
    assert corpus.names(held_out=True) == sorted(name for name in named if name in corpus.names())


def test_every_record_lies_in_its_space_and_costs_what_it_says(corpus: Corpus) -> None:
    for name in corpus.names():
        space = corpus.space(name)
        for record in corpus.records(name):
            cost = space.allocation(record.values).cost()
            assert record.seconds >= 0, name
            assert record.tokens > 0 or record.status == "failed", name
            if describe_budget(space)[1] == "parameters":
                assert record.parameters == cost, (name, record.values)
            if record.status == "ok":
                assert record.gain is not None
            else:
                assert record.error, (name, record.values)
            assert re.fullmatch(r"[0-9a-f]{7,40}\+?", record.commit), (name, record.commit)


def test_every_record_is_paired_with_the_uniform_of_its_seed_and_length(corpus: Corpus) -> None:
    for name in corpus.names():
        reference = corpus.space(name).reference().values
        uniform: dict[tuple[int, int], set[float]] = {}
        for record in corpus.records(name):
            if record.loss_reference is not None:
                uniform.setdefault((record.seed, record.steps), set()).add(record.loss_reference)
        for place, losses in uniform.items():
            assert len(losses) == 1, (name, place)
        for record in corpus.records(name):
            if record.values == reference and record.status == "ok":
                assert {record.loss} == uniform[record.seed, record.steps], (name, record.seed)


def test_fidelity_is_the_share_of_the_full_length(corpus: Corpus) -> None:
    for name in corpus.names():
        full = corpus.setting(name).recipe["steps"]
        for record in corpus.records(name):
            assert record.fidelity == pytest.approx(record.steps / full), name


def test_losses_of_sequences_are_of_the_same_held_out_sequences(corpus: Corpus) -> None:
    for name in corpus.names():
        space, losses = corpus.space(name), corpus.read_sequence_losses(name)
        assert len({len(found) for found in losses.values()}) <= 1, name
        assert all(space.contains(values) for values, _, _ in losses), name


def test_studies_belong_to_settings_and_are_sound(corpus: Corpus) -> None:
    for path in sorted(FOLDER.glob("**/studies/*.json")):
        assert path.stem in corpus.names(), path
        corpus.studies(path.stem)


def test_every_setting_names_the_command_that_measures_it(corpus: Corpus) -> None:
    for name in corpus.names():
        command = corpus.setting(name).command
        assert command, name
        program, verb, file, *options = shlex.split(command)
        assert (program, verb) == ("rankadaptor", "collect"), name
        assert (ROOT / file).is_file(), f"{name}: {file}"
        assert all(option == "--set" or "=" in option for option in options), command


def test_one_line_of_pandas_reads_it(corpus: Corpus) -> None:
    import pandas

    for name in corpus.names():
        path = Path(FOLDER / "records" / f"{name}.jsonl")
        table = pandas.read_json(path, lines=True)
        assert len(table) == len(path.read_text("utf-8").splitlines())
        assert (table.setting == name).all()


def test_the_tables_have_the_columns_promised(corpus: Corpus) -> None:
    promised = {
        "setting", "values", "slots", "source", "seed", "steps", "fidelity", "loss", "loss_reference", "gain",
        "parameters", "seconds", "status", "held_out",
    }  # fmt: skip
    table = corpus.table()
    assert promised <= set(table.columns)
    assert len(table) == len(corpus)
    assert len(corpus.settings()) == len(corpus.names())
