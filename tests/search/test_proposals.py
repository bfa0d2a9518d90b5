from __future__ import annotations

from rankadaptor.search.proposals import describe_rule


def test_the_rule_that_chooses_is_said_in_words() -> None:
    def say(**given: object) -> str:
        settings = {"evaluations": 20, "batch": 1, "mean_until": 12, "trained": True} | given
        proposal = str(settings.pop("proposal", "expected_improvement"))
        return describe_rule(proposal, **settings)  # type: ignore[arg-type]

    assert "mean chooses the first 12 allocations, expected_improvement the other 8" in say()
    assert "the first 15 allocations, expected_improvement the other 5" in say(batch=5)
    assert "mean chooses all 10 allocations" in say(evaluations=10)
    for given in ({"mean_until": 0}, {"trained": False}, {"proposal": "thompson"}):
        assert say(**given) == f"{given.get('proposal', 'expected_improvement')} chooses all 20 allocations."
