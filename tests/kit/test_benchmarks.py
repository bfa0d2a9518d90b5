"""The seven benchmarks have the rows and columns that lm-eval's own definitions read."""

from __future__ import annotations

import pytest

from rankadaptor import kit
from rankadaptor.errors import InputError

FACTS = {
    "boolq": (3270, {"question", "passage", "label"}),
    "piqa": (1838, {"goal", "sol1", "sol2", "label"}),
    "hellaswag": (10042, {"ctx_a", "ctx_b", "activity_label", "endings", "label"}),
    "winogrande": (1267, {"sentence", "option1", "option2", "answer"}),
    "arc_easy": (2376, {"question", "choices", "answerKey"}),
    "arc_challenge": (1172, {"question", "choices", "answerKey"}),
    "openbookqa": (500, {"question_stem", "choices", "answerKey"}),
}


def test_a_split_that_the_kit_lacks_is_refused():
    with pytest.raises(InputError, match="boolq has no split 'test'"):
        kit.load_benchmark_rows("boolq", split="test")


@pytest.mark.kit
@pytest.mark.parametrize("name", kit.BENCHMARKS)
def test_rows_and_columns(name):
    count, columns = FACTS[name]
    rows = kit.load_benchmark_rows(name)
    assert len(rows) == count
    assert columns <= set(rows.column_names)


@pytest.mark.kit
def test_boolq_is_as_superglue_has_it():
    rows = kit.load_benchmark_rows("boolq")
    assert rows[0]["passage"].startswith("Ethanol fuel -- All biomass")
    assert rows[0]["question"] == "does ethanol take more energy make that produces"
    assert rows[0]["label"] == 0
    assert set(rows["label"]) == {0, 1}
    assert sum(rows["label"]) == 2033


@pytest.mark.kit
@pytest.mark.parametrize(("name", "count"), [("arc_easy", 570), ("arc_challenge", 299), ("openbookqa", 500)])
def test_test_rows_have_the_form_of_validation_rows(name, count):
    test, validation = kit.load_benchmark_rows(name), kit.load_benchmark_rows(name, split="validation")
    assert len(validation) == count
    assert test.column_names == validation.column_names
    assert not set(test["id"]) & set(validation["id"])
    for row in test:
        assert row["answerKey"] in row["choices"]["label"]
        assert len(row["choices"]["label"]) == len(row["choices"]["text"])
