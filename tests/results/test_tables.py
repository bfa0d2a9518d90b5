from __future__ import annotations

import copy
import re

import pytest

from rankadaptor.card import render_card
from rankadaptor.errors import InputError
from rankadaptor.report.markdown import BUILDERS
from rankadaptor.report.page import render_page
from rankadaptor.results import Table
from rankadaptor.results.choice import build_choice_table
from rankadaptor.results.details import (
    build_block_table,
    build_cost_table,
    build_pruning_table,
    build_rank_table,
    build_search_table,
    build_tuning_table,
)
from rankadaptor.results.overview import build_overview_table, describe_compute, describe_predictor
from rankadaptor.results.scores import build_accuracy_table, build_difference_table, build_loss_table
from rankadaptor.results.table import write_moment
from tests.report.documents import BENCHMARKS, make_document

PARTS = (
    "pruning", "losses", "recipe", "tuning", "choice", "space", "search", "verdict", "recovered",
    "benchmarks", "benchmark_differences", "cost",
)  # fmt: skip


def row(table: Table, name: str) -> dict[str, str]:
    for cells in table.rows:
        if cells[0] == name:
            return dict(zip(table.header, cells, strict=True))
    raise AssertionError(f"no row {name}")


def describe_fault(build, document) -> str | None:
    try:
        build(document)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", BUILDERS)
def test_every_table_is_rectangular_and_named(name):
    table = BUILDERS[name](make_document())
    assert table.name == name
    assert table.rows
    assert {len(cells) for cells in table.rows} == {len(table.header)}


@pytest.mark.parametrize("missing", PARTS)
def test_every_table_stands_any_missing_part_or_says_one_sentence(missing):
    document = make_document()
    del document["result"][missing]
    for build in BUILDERS.values():
        message = describe_fault(build, document)
        assert message is None or (message.startswith("No ") and message.endswith("."))


def test_the_precision_stands_in_overview_card_and_report_with_its_reason():
    document = make_document()
    document["result"]["compute"] = {
        "device": "cpu", "trial_device": "cuda", "dtype": "bfloat16", "quantise": "nf4", "threads": 1,
        "reason": "no CUDA device; native bfloat16",
    }  # fmt: skip
    told = "bfloat16 on cpu, frozen linears in nf4, trials on cuda, 1 thread a process (no CUDA device;"
    assert told in row(build_overview_table(document), "precision")["what"]
    assert told in render_card(document, adapter="uniform")
    assert told in render_page(document)


def test_only_the_last_training_of_the_chosen_recipe_is_marked():
    table = build_choice_table(make_document())
    assert [cells[-1] for cells in table.rows] == ["", "", "", "chosen"]
    assert [cells[4] for cells in table.rows][2] == "diverged"
    assert "40.0 %" in str(table.note)
    assert "Not tried, for lack of steps: learning rate 0.1" in str(table.note)


def test_losses_show_gain_over_uniform_and_the_share_regained():
    table = build_loss_table(make_document())
    searched = row(table, "searched")
    assert searched["loss"] == "3.3990"
    assert searched["gain over uniform"] == "+0.0030"
    assert searched["regained"] == f"{100 * (4.317 - 3.399) / (4.317 - 2.913):.1f} %"
    assert row(table, "random")["gain over uniform"] == "−0.0070"
    assert row(table, "uniform")["gain over uniform"] == "–"
    assert [cells[0] for cells in table.rows] == ["dense", "pruned", "uniform", "searched", "random"]


def test_more_than_everything_regained_is_explained():
    document = make_document()
    assert "More than 100 %" not in build_loss_table(document).note
    assert "One full fine-tune of 100 steps each" in build_loss_table(document).note
    assert "5 pairs of 24-step fine-tunes on fresh seeds" in build_loss_table(document).note
    document["result"]["recovered"]["searched"]["loss"] = 2.736
    table = build_loss_table(document)
    assert row(table, "searched")["regained"] == "112.6 %"
    assert "recovery also tunes the model to text of this kind" in table.note


@pytest.mark.parametrize(
    ("compute", "asked", "expected"),
    [
        ({"device": "cuda", "dtype": "bfloat16", "quantise": "nf4", "threads": 2}, {"dtype": "auto"},
         "bfloat16 on cuda, frozen linears in nf4, 2 threads a process"),
        ({}, {"device": "auto", "dtype": "auto", "threads": 1},
         "chosen for the machine (auto) and not recorded, 1 thread a process"),
        ({}, {"device": "cpu", "dtype": "float32"}, "float32 on cpu"),
        ({}, {}, ""),
    ],
)  # fmt: skip
def test_precision_is_what_was_used_where_it_was_recorded(compute, asked, expected):
    document = make_document()
    document["result"]["compute"] = compute
    document["run"]["config"]["compute"] = asked
    assert describe_compute(document) == expected


@pytest.mark.parametrize(
    ("used", "asked", "expected"),
    [
        ("meta", "meta", "meta, trained on a corpus of earlier measurements"),
        ("ridge", "meta", "ridge instead of the requested meta: no trained predictor was found"),
        ("gaussian_process", None, "gaussian_process, which learns from this search alone"),
        (None, "meta", ""),
    ],
)
def test_the_predictor_is_the_one_that_was_used(used, asked, expected):
    document = make_document()
    document["result"]["search"]["predictor"] = used
    document["run"]["config"]["search"]["predictor"] = asked
    assert describe_predictor(document) == expected
    document["run"]["config"]["search"]["predictor_path"] = "own"
    assert describe_predictor(document) == (f"{expected} (from own)" if used == "meta" else expected)


def test_the_overview_has_a_row_for_each_step_that_was_taken():
    table = build_overview_table(make_document())
    assert row(table, "recovery")["what"] == "100 steps for each of uniform, searched, random; one seed"
    assert row(table, "benchmarks")["what"].endswith("openbookqa, 500 items each")
    document = make_document()
    document["result"]["recovered"]["random"]["curve"][-1]["step"] = 60
    assert row(build_overview_table(document), "recovery")["what"].endswith("stopped early: random after 60")
    document["result"]["search"] |= {"predictor": "spectra", "proposal": "greedy", "evaluations": 0}
    assert row(build_overview_table(document), "predictor")["what"] == (
        "none: ranks were allocated by the score spectra"
    )
    del document["result"]["recovered"], document["result"]["verdict"]
    assert {"recovery", "verdict"}.isdisjoint(cells[0] for cells in build_overview_table(document).rows)


def test_moments_are_written_for_people():
    assert re.fullmatch(
        r"2[123] November 2026, \d\d:\d\d UTC([+-]\d\d:\d\d)?", write_moment("2026-11-22T12:31:58+00:00")
    )


def test_a_model_given_pruned_has_no_dense_row_and_no_share():
    document = make_document()
    del document["result"]["losses"]["dense"]
    table = build_loss_table(document)
    assert table.rows[0][0] == "pruned"
    assert row(table, "searched")["regained"] == "–"


def test_accuracies_are_percentages_with_standard_errors_and_name_their_metric():
    document = make_document()
    table = build_accuracy_table(document)
    assert table.header == ("model", *BENCHMARKS, "mean")
    boolq = document["result"]["benchmarks"]["uniform"]["boolq"]
    expected = f"{100 * boolq['accuracy']:.1f} ± {100 * boolq['standard_error']:.1f}"
    assert row(table, "uniform")["boolq"] == expected
    assert "500 items per benchmark" in table.note
    assert "acc_norm for hellaswag, arc_challenge, openbookqa" in table.note


def test_a_benchmark_that_one_model_lacks_is_a_dash():
    document = make_document()
    del document["result"]["benchmarks"]["searched"]["piqa"]
    assert row(build_accuracy_table(document), "searched")["piqa"] == "–"


def test_differences_count_how_many_pass_two_standard_errors():
    document = make_document()
    cells = document["result"]["benchmark_differences"]["searched-uniform"]
    for name in BENCHMARKS:
        cells[name]["difference"] = 0.0
    cells["piqa"] = {"difference": -0.05, "standard_error": 0.01}
    table = build_difference_table(document)
    assert row(table, "searched − uniform")["piqa"] == "−5.0 ± 1.0"
    assert "1 of these 7" in table.note


def test_ranks_are_those_of_the_candidate_unless_others_are_given():
    document = make_document(slots="linear", n_blocks=4)
    table = build_rank_table(document)
    candidate = document["result"]["verdict"]["candidate"]
    assert table.header == ("block", *(f"{kind}_proj" for kind in ("q", "k", "v", "o", "gate", "up", "down")))
    assert [int(cell) for cells in table.rows for cell in cells[1:]] == candidate
    uniform = build_rank_table(document, values=document["result"]["space"]["reference"])
    assert {cell for cells in uniform.rows for cell in cells[1:]} == {"8"}


def test_ranks_of_another_number_than_slots_are_refused():
    document = make_document(slots="linear", n_blocks=4)
    with pytest.raises(InputError, match="3 ranks for a space of 28 slots"):
        build_rank_table(document, values=[8, 8, 8])


def test_pruning_shows_sizes_and_changes():
    table = build_pruning_table(make_document())
    assert row(table, "parameters")["change"] == "−19.9 %"
    assert row(table, "parameters")["before"] == "134,515,008"
    document = make_document()
    document["result"]["pruning"]["tokens_per_second_before"] = None
    document["result"]["pruning"]["tokens_per_second_after"] = None
    assert "forward pass, tokens per second" not in {cells[0] for cells in build_pruning_table(document).rows}
    assert len(build_block_table(document).rows) == 12


def test_failed_trials_stay_visible():
    document = make_document()
    assert row(build_tuning_table(document), "0.03")["status"] == "failed"
    failed = row(build_search_table(document), "5")
    assert (failed["status"], failed["measured gain"]) == ("failed", "–")


def test_cost_adds_up():
    table = build_cost_table(make_document())
    assert row(table, "all")["tokens trained"] == f"{73728 + 319488 + 245760 + 204800:,}"


def test_a_teacher_is_part_of_the_cost():
    document = make_document()
    assert "teacher" not in build_cost_table(document).note
    for entry in document["result"]["recovered"].values():
        entry["teacher"] = {"tokens": 102400, "seconds": 12.25}
    count = len(document["result"]["recovered"])
    assert build_cost_table(document).note.endswith(
        f"a teacher read {102400 * count:,} tokens beside the model, in {12.25 * count:,.1f} s."
    )


def test_markdown_escapes_what_would_break_a_table():
    table = Table("demo", "Demo", ("a", "b"), (("x|y", "line\nbreak"),), note="A note.")
    assert table.to_markdown() == "| a | b |\n|---|---:|\n| x\\|y | line break |\n\nA note.\n"


def test_the_document_is_not_changed():
    document = make_document()
    before = copy.deepcopy(document)
    for build in BUILDERS.values():
        build(document)
    assert document == before
