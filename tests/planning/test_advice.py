"""Advice from measured files: the best that fits size and time, the simpler one where losses are alike."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rankadaptor.cli import main
from rankadaptor.errors import InputError
from rankadaptor.planning.advice import advise
from rankadaptor.planning.measured import RULE, SEARCHED, STOCK, MeasuredFile, read_measured
from rankadaptor.planning.preconditions import check_model_source

MODEL = "kit:smollm2-135m"
SHAPE = check_model_source(MODEL)
PLAIN = MeasuredFile(MODEL, SHAPE.parameters, "stock Q4_0", STOCK, False, 90, 150, (0.2, 0.4), 0, None)
RECOVERED = dataclasses.replace(
    PLAIN, method="stock Q4_0, recovered", recovered=True, excess=(0.1, 0.1), tokens_trained=40_960
)
UNIFORM = dataclasses.replace(
    RECOVERED, method="uniform Q4_0, recovered", kind=RULE, bytes=89, excess=(0.5, 0.5)
)
FOUND = dataclasses.replace(
    RECOVERED, method="compress", kind=SEARCHED, bytes=88, excess=(-0.1, 0.0), seconds=7200.0
)
TABLE = (PLAIN, RECOVERED, UNIFORM, FOUND)


def test_the_best_that_can_be_made_in_time_is_chosen():
    given = advise(MODEL, SHAPE, size=92, hours=3, table=TABLE)
    assert (given.chosen.file, given.certainty) == (FOUND, "measured")
    assert [option.file for option in given.options] == [FOUND, RECOVERED, PLAIN, UNIFORM]
    hurried = advise(MODEL, SHAPE, size=92, hours=1, table=TABLE)
    assert hurried.chosen.file == RECOVERED
    assert "With 2.0 hours compress would be the best." in hurried.why
    assert advise(MODEL, SHAPE, size=92, hours=1e-6, table=TABLE).chosen.file == PLAIN
    assert advise(MODEL, SHAPE, size=89, hours=3, table=TABLE).options[-1].file == UNIFORM  # none is larger


def test_of_equal_losses_the_simplest_is_taken():
    alike = dataclasses.replace(FOUND, excess=(0.09, 0.09))
    given = advise(MODEL, SHAPE, size=92, hours=3, table=(PLAIN, RECOVERED, alike))
    assert given.chosen.file == RECOVERED
    assert "compress had +0.090" in given.why[1]


def test_it_says_how_sure_it_is():
    assert advise(MODEL, SHAPE, size=110, hours=3, table=TABLE).certainty == "near"
    assert advise(MODEL, SHAPE, size=40, hours=3, table=TABLE).certainty == "unknown"
    other = dataclasses.replace(SHAPE, blocks=SHAPE.blocks * 2)
    size = int(0.62 * other.parameters * 34 / 32)
    given = advise("someone/model", other, size=size, hours=9, table=TABLE)
    assert given.certainty == "transferred"
    assert given.options[0].hours == pytest.approx(2 * other.parameters / SHAPE.parameters)
    with pytest.raises(InputError, match="above 0"):
        advise(MODEL, SHAPE, size=10, hours=0)


def test_the_shipped_table_answers_on_the_command_line(capsys):
    assert len(read_measured()) > 20
    assert main(["advise", MODEL, "--size", "60MB", "--hours", "10"]) == 0
    shown = capsys.readouterr().out
    assert "How sure: measured." in shown
    assert "Next: rankadaptor compress kit:smollm2-135m --size 60MB" in shown
    assert main(["advise", MODEL, "--size", "150MB", "--hours", "0.001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"]["file"]["kind"] == "stock"
    assert main(["advise", MODEL, "--size", "much", "--hours", "1"]) == 2
    assert "must be a file size such as 60MB" in capsys.readouterr().err
