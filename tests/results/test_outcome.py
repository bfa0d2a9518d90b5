from __future__ import annotations

import copy

import pytest

from rankadaptor.results import explain_outcome
from tests.report.documents import make_document


def tell(document) -> str:
    outcome = explain_outcome(document)
    return " ".join((outcome.headline, outcome.advice, *outcome.sentences))


def test_no_difference_recommends_uniform_and_says_what_it_does_not_prove():
    outcome = explain_outcome(make_document(outcome="no difference"))
    assert outcome.word == "no difference"
    assert outcome.headline == "No difference from uniform r=8 was found"
    assert outcome.advice.startswith("Use uniform r=8")
    text = " ".join(outcome.sentences)
    assert "interval includes zero" in text
    assert "does not prove the two equal" in text


def test_better_recommends_the_searched_allocation_with_its_interval():
    document = make_document(outcome="better")
    verdict = document["result"]["verdict"]
    text = tell(document)
    assert "Use the searched allocation." in text
    assert "0.0060 nats per token lower" in text
    assert f"+{verdict['low']:.4f} to +{verdict['high']:.4f}" in text
    assert "For scale" in text


def test_worse_recommends_uniform():
    text = tell(make_document(outcome="worse"))
    assert "worse than uniform r=8" in text
    assert "Use uniform r=8." in text
    assert "0.0060 nats per token higher" in text


@pytest.mark.parametrize("result", [{}, {"verdict": None}, {"space": {"reference": [8, 8]}}])
def test_a_run_without_a_verdict_recommends_uniform_until_there_is_one(result):
    outcome = explain_outcome({"schema": 1, "result": result})
    assert outcome.word == "no verdict"
    assert "use uniform" in outcome.advice


def test_failed_seeds_and_caveats_are_told():
    document = make_document(outcome="no difference")
    verdict = document["result"]["verdict"]
    verdict |= {"failures": ["seed 1003: loss is NaN"], "reason": "only 3 of 5 seeds gave a pair"}
    text = tell(document)
    assert "1 of 5 runs failed (seed 1003: loss is NaN)" in text
    assert "only 3 of 5 seeds gave a pair" in text


def test_too_few_pairs_never_claim_that_the_interval_includes_zero():
    document = make_document(outcome="better")
    document["result"]["verdict"] |= {"outcome": "no difference", "reason": "too few pairs"}
    assert "includes zero" not in tell(document)


def test_a_candidate_that_is_uniform_has_no_interval_to_quote():
    document = copy.deepcopy(make_document())
    document["result"]["verdict"] |= {
        "gain": 0.0, "low": None, "high": None, "noise": None, "gains": [],
        "reason": "the candidate is uniform",
    }  # fmt: skip
    text = tell(document)
    assert "interval" not in text
    assert "the candidate is uniform" in text


def test_a_space_with_several_uniform_ranks_is_called_just_uniform():
    document = make_document()
    document["result"]["space"]["reference"][0] = 4
    assert "uniform was found" in explain_outcome(document).headline
