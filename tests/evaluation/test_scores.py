"""Means, standard errors and paired differences, against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.evaluation import Score, Scores, compare_scores


def make_score(benchmark: str, correct: str, **changes) -> Score:
    fields = {
        "benchmark": benchmark,
        "metric": "acc",
        "correct": tuple(map(float, correct)),
        "items": tuple(range(len(correct))),
        "digest": benchmark,
    }
    return Score(**(fields | changes))


def test_paired_difference_and_its_error():
    first = Scores((make_score("boolq", "1110"), make_score("piqa", "1100")))
    second = Scores((make_score("piqa", "1010"), make_score("boolq", "1000")))
    differences = compare_scores(first, second)
    boolq, piqa = differences["boolq"], differences["piqa"]
    assert (boolq.difference, boolq.gained, boolq.lost, boolq.n) == (0.5, 2, 0, 4)
    assert boolq.standard_error == pytest.approx(np.std([0, 1, 1, 0], ddof=1) / 2)
    assert (piqa.difference, piqa.gained, piqa.lost) == (0.0, 1, 1)
    assert differences.mean == pytest.approx(0.25)
    both = (boolq.standard_error, piqa.standard_error)
    assert differences.standard_error == pytest.approx(math.hypot(*both) / 2)
    assert differences.describe().startswith("+25.00 ± ")
    assert differences.summary()["mean"]["difference"] == pytest.approx(0.25)


def test_pairing_is_sharper_than_two_separate_errors():
    draw = np.random.default_rng(0)
    one = "".join(map(str, draw.integers(0, 2, 400)))
    other = "".join("0" if index % 40 == 0 else value for index, value in enumerate(one))
    first, second = make_score("piqa", one), make_score("piqa", other)
    paired = compare_scores(Scores((first,)), Scores((second,)))["piqa"].standard_error
    assert paired < math.hypot(first.standard_error, second.standard_error) / 3


def test_a_model_does_not_differ_from_itself():
    scores = Scores((make_score("boolq", "1010"), make_score("piqa", "1111")))
    differences = compare_scores(scores, scores)
    assert (differences.mean, differences.standard_error) == (0.0, 0.0)


@pytest.mark.parametrize("changes", [{"items": (5, 6, 7, 8)}, {"digest": "other"}, {"metric": "acc_norm"}])
def test_other_items_are_refused(changes):
    with pytest.raises(InputError, match=r"piqa.*not the same items"):
        compare_scores(
            Scores((make_score("piqa", "1010"),)), Scores((make_score("piqa", "1010", **changes),))
        )


def test_nothing_shared_is_refused():
    with pytest.raises(InputError, match="nothing to compare"):
        compare_scores(Scores((make_score("piqa", "10"),)), Scores((make_score("boolq", "10"),)))


def test_means_weigh_benchmarks_alike():
    scores = Scores(
        (make_score("boolq", "1" * 100), make_score("piqa", "1000"), make_score("arc_easy", "11"))
    )
    assert scores.mean == pytest.approx((1 + 0.25 + 1) / 3)
    assert scores.mean_without_boolq == pytest.approx((0.25 + 1) / 2)
    errors = [score.standard_error for score in scores.benchmarks]
    assert scores.mean_standard_error == pytest.approx(math.sqrt(sum(e * e for e in errors)) / 3)
    assert Scores((make_score("boolq", "10"),)).mean_without_boolq is None


def test_a_single_item_has_no_error():
    scores = Scores((make_score("boolq", "1"),))
    assert scores["boolq"].standard_error is None
    assert scores.mean_standard_error is None
    assert compare_scores(scores, scores)["boolq"].standard_error is None
    with pytest.raises(KeyError, match="scored were boolq"):
        scores["piqa"]
