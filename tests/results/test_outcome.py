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
    assert outcome.headline == "No difference from uniform r=8 was found in 24-step fine-tunes"
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


@pytest.mark.parametrize("outcome", ["better", "no difference", "worse"])
def test_a_verdict_names_the_length_it_rests_on_and_what_is_known_at_full_length(outcome):
    document = make_document(outcome=outcome)
    outcome = explain_outcome(document)
    assert outcome.headline.endswith(" in 24-step fine-tunes")
    first, second = outcome.evidence[:2]
    assert first.startswith(
        "Over 5 pairs of 24-step fine-tunes on fresh seeds (the recovery has 100 steps), "
    )
    assert second.startswith("In the full recoveries (100 steps, one seed each) ")
    assert "0.0030 nats per token lower than uniform's; with one seed, chance is not" in second
    assert ("the sign is the opposite" in second) == (document["result"]["verdict"]["gain"] < 0)
    assert "set confirm.steps to 100" in second
    assert outcome.sentences[-1].endswith("fine-tunes of 24 steps.")

    # The other sign at full length: said so, whatever the verdict is.
    document["result"]["recovered"]["searched"]["loss"] = 3.41
    second = explain_outcome(document).evidence[1]
    assert "0.0080 nats per token higher than uniform's" in second
    assert ("the sign is the opposite" in second) == (document["result"]["verdict"]["gain"] > 0)


def test_without_full_recoveries_a_verdict_says_nothing_about_them():
    document = make_document(outcome="better")
    del document["result"]["recovered"]
    assert "At the full length of 100 steps the two were not compared" in tell(document)


def test_pairs_as_long_as_the_recovery_need_no_such_sentence():
    document = make_document(outcome="better")
    document["result"]["verdict"]["steps"] = 100
    text = tell(document)
    assert "Over 5 pairs of 100-step fine-tunes on fresh seeds (as long as the recovery), " in text
    assert "full recoveries" not in text
    assert "confirm.steps" not in text


def test_older_documents_take_the_lengths_from_their_configuration():
    document = make_document()
    del document["result"]["verdict"]["steps"]
    assert "24-step fine-tunes" in tell(document)
    document["run"]["config"]["confirm"] = {"steps": 48}
    assert "48-step fine-tunes on fresh seeds (the recovery has 100 steps)" in tell(document)
    document["run"]["config"] = {}
    document["result"]["search"]["steps"] = 0  # ranks allocated by a score
    text = tell(document)
    assert "Over 5 pairs of fine-tunes on fresh seeds, the searched" in text
    assert "this length of fine-tune" in text
