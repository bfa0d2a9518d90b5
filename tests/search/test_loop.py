from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import Record
from rankadaptor.defaults import SEARCH
from rankadaptor.errors import InputError, RankAdaptorError
from rankadaptor.predictor import GaussianProcess, MetaPredictor, Prediction, Ridge
from rankadaptor.predictor.observations import gather_observations
from rankadaptor.predictor.prior.hierarchy import fit_hierarchy
from rankadaptor.search import PROPOSALS, Search, check_choice
from rankadaptor.search.proposals import score_expected_improvement
from rankadaptor.space import Allocation
from tests.predictor.oracle import as_failed, make_oracle, make_space, measure_sample


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=3)


def make_search(space: RankSpace, **settings) -> Search:
    return Search(
        space, settings.pop("predictor", Ridge()), candidates=settings.pop("candidates", 300), **settings
    )


def test_guided_search_finds_more_than_random_over_twenty_seeds() -> None:
    space, differences = make_space(blocks=2), []
    for seed in range(20):
        oracle = make_oracle(space, seed=seed, noise=0.5)
        gains = []
        for proposal in ("expected_improvement", "random"):
            search = make_search(space, seed=seed, proposal=proposal, candidates=100)
            best = search.run(oracle, evaluations=10).best
            gains.append(oracle.true_gains(np.array([best.choices]))[0])
        differences.append(gains[0] - gains[1])
    mean = np.mean(differences)
    error = np.std(differences, ddof=1) / np.sqrt(20)
    assert mean > 1.73 * error  # one-sided 5 % of Student's t with 19 degrees of freedom


def test_a_trained_predictor_begins_with_what_it_expects_most_of(space: RankSpace) -> None:
    """The unsure is for later: far from uniform its SD is largest, and so are the losses."""
    settings = [
        (space, gather_observations(space, measure_sample(make_oracle(space, seed=s, shared=7), 20, seed=s)))
        for s in range(4)
    ]
    predictor = MetaPredictor(hierarchy=fit_hierarchy(settings))
    searches = [
        make_search(space, predictor=predictor, proposal=proposal)
        for proposal in ("greedy", "expected_improvement", "upper_confidence_bound")
    ]
    oracle = make_oracle(space, seed=50, shared=7)
    while len(searches[0].records) < SEARCH.mean_until:
        greedy, *others = [search.ask() for search in searches]
        assert others == [greedy, greedy]
        for search in searches:
            search.tell([oracle(allocation) for allocation in greedy])
    assert not all(search.ask() == searches[0].ask() for search in searches)
    # The rule that is named applies from when the caller says, and a batch keeps to one rule.
    eager = make_search(space, predictor=predictor, mean_until=0)
    assert eager.ask() != make_search(space, predictor=predictor, proposal="greedy").ask()
    late = make_search(space, predictor=predictor, mean_until=SEARCH.mean_until + 1)
    late.tell(searches[0].records)
    assert late.ask() == searches[0].ask() != searches[1].ask()
    assert late.with_proposal("greedy").mean_until == late.mean_until
    untaught = make_search(space, predictor=GaussianProcess(), initial=0)
    assert untaught._choose_score() is score_expected_improvement


def test_a_predictor_that_runs_away_is_an_error_and_not_the_end_of_the_space(space: RankSpace) -> None:
    @dataclasses.dataclass(frozen=True)
    class RunsAway:
        seen: int = 0
        name: str = "runs_away"
        pretrained: bool = True

        def predict(self, space, values) -> Prediction:
            means = np.zeros(len(values)) if self.seen < 2 else np.full(len(values), np.nan)
            return Prediction(means, np.ones(len(values)))

        def update(self, space, records) -> RunsAway:
            return RunsAway(len(records))

    search = make_search(space, predictor=RunsAway())
    with pytest.raises(RankAdaptorError, match="not finite") as raised:
        search.run(make_oracle(space, seed=3), evaluations=6)
    assert not isinstance(raised.value, InputError)
    assert len(search.records) == 2


def test_the_expected_gain_of_the_winner_is_honest(space: RankSpace) -> None:
    expected, true, measured = [], [], []
    for seed in range(8):
        oracle = make_oracle(space, seed=seed, noise=1.0)
        result = make_search(space, seed=seed, candidates=100).run(oracle, evaluations=10)
        expected.append(result.expected_gain)
        true.append(oracle.true_gains(np.array([result.best.choices]))[0])
        measured.append(max(step.gain for step in result.history))
    assert abs(np.mean(expected) - np.mean(true)) < abs(np.mean(measured) - np.mean(true))


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_killed_anywhere_and_replayed_it_asks_the_same(space: RankSpace, proposal: str) -> None:
    oracle = make_oracle(space, seed=3)
    search = make_search(space, seed=5, proposal=proposal)
    for _ in range(7):
        replayed = make_search(space, seed=5, proposal=proposal)
        replayed.tell(search.records)
        (asked,) = search.ask()
        assert search.ask() == [asked]
        assert replayed.ask() == [asked]
        search.tell(oracle(asked))
    values = [record.values for record in search.records]
    assert len(set(values)) == 7
    assert space.reference().values not in values
    assert all(space.contains(v) for v in values)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_a_batch_is_distinct_and_starts_with_the_single_proposal(space: RankSpace, proposal: str) -> None:
    oracle = make_oracle(space, seed=3)
    search = make_search(space, proposal=proposal)
    search.tell([oracle(allocation) for allocation in search.ask(4)])
    batch = search.ask(3)
    assert batch[:1] == search.ask()
    assert len({a.values for a in batch} | {r.values for r in search.records}) == 7


def test_failures_are_kept_but_never_win(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=1)
    oracle.failing = 3
    told: list[Record] = []
    result = make_search(space).run(oracle, evaluations=10, on_record=told.append)
    assert tuple(told) == result.records
    failed = {record.values for record in result.records if record.status == "failed"}
    assert failed
    assert result.best.values not in failed
    assert [step.gain is None for step in result.history] == [r.status == "failed" for r in result.records]


def test_all_failed_says_so(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=1)
    oracle.failing = 1
    with pytest.raises(RankAdaptorError, match=r"5 fine-tunes, all failed.*NaN.*learning_rate"):
        make_search(space).run(oracle, evaluations=5)


def test_history_holds_what_was_predicted_before_it_was_measured(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=2)
    result = make_search(space).run(oracle, evaluations=8)
    assert [step.evaluation for step in result.history] == list(range(1, 9))
    assert result.history[0].predicted_mean is None
    later = [step for step in result.history if step.predicted_mean is not None]
    assert len(later) == 7
    assert result.history[-1].best_gain == max(0.0, *(step.gain for step in result.history))
    entry = result.history[-1].to_json()
    assert set(entry) == {
        "evaluation", "values", "predicted_mean", "predicted_std", "gain", "best_gain", "status",
    }  # fmt: skip
    replayed = make_search(space)
    for record in result.records:
        replayed.tell(record)
    assert replayed.result().history == result.history


def test_run_counts_earlier_records_and_logs_progress(
    space: RankSpace, caplog: pytest.LogCaptureFixture
) -> None:
    oracle = make_oracle(space, seed=2)
    whole = make_search(space).run(oracle, evaluations=6)
    search = make_search(space)
    search.tell(whole.records[:3])
    with caplog.at_level(logging.INFO):
        assert search.run(oracle, evaluations=6).records == whole.records
    assert "nats per token vs uniform · ETA" in caplog.text


def test_an_interrupted_measurement_loses_nothing(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=2)
    search = make_search(space)

    def measure(allocation: Allocation) -> Record:
        if len(search.records) == 3:
            raise KeyboardInterrupt
        return oracle(allocation)

    with pytest.raises(KeyboardInterrupt):
        search.run(measure, evaluations=6)
    assert len(search.records) == 3
    assert search.run(oracle, evaluations=6).records == make_search(space).run(oracle, evaluations=6).records


def test_without_signal_it_stops_early(space: RankSpace) -> None:
    null = make_oracle(space, seed=0)
    null = dataclasses.replace(null, weights=np.zeros_like(null.weights), noise=0.01)
    search = make_search(space, predictor=GaussianProcess(), candidates=100)
    result = search.run(null, evaluations=40, stop_below_noise=True)
    assert 4 <= len(result.records) < 40
    assert search.exhausted


def test_a_space_with_few_allocations_ends_instead_of_repeating() -> None:
    linear = SimpleNamespace(
        name="model.layers.{}.mlp.up_proj", kind="up_proj", in_features=8, out_features=8
    )
    linears = [
        SimpleNamespace(**{**vars(linear), "name": linear.name.format(b), "block": b}) for b in range(2)
    ]
    tiny = RankSpace.from_linears(linears, like_uniform=2, ranks=(0, 1, 2, 3, 4), slots="linear")
    oracle = make_oracle(tiny, seed=0)
    result = make_search(tiny).run(oracle, evaluations=50)
    assert len({record.values for record in result.records}) == len(result.records) < 50
    done = make_search(tiny)
    done.tell(result.records)
    with pytest.raises(InputError, match="are measured"):
        done.ask()


def test_another_proposal_goes_on_from_the_same_records(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=2)
    search = make_search(space, proposal="thompson")
    search.run(oracle, evaluations=6)
    greedy = search.with_proposal("greedy")
    assert greedy.records == search.records
    assert greedy.proposal == "greedy"
    direct = make_search(space, proposal="greedy")
    direct.tell(search.records)
    assert greedy.ask() == direct.ask()
    (best,) = greedy.ask()
    pool = space.sample(200, seed=1)
    assert (
        greedy.conditioned.predict(space, [best]).mean[0]
        >= greedy.conditioned.predict(space, pool).mean.max()
    )


def test_a_space_of_uniform_alone_says_so_and_what_helps() -> None:
    linear = SimpleNamespace(
        name="model.layers.0.mlp.up_proj", kind="up_proj", in_features=8, out_features=8, block=0
    )
    for ranks in ((0, 1, 2, 3), (2,)):
        single = RankSpace.from_linears([linear], like_uniform=2, ranks=ranks, slots="linear")
        search = make_search(single)
        with pytest.raises(InputError, match=r"no allocation but uniform .* larger menu"):
            search.ask()
        with pytest.raises(InputError, match="no allocation but uniform"):
            search.run(lambda _: pytest.fail("measured"), evaluations=3)
        with pytest.raises(InputError, match="no allocation but uniform"):
            check_choice(single)
    check_choice(make_space(blocks=1))


def test_without_records_there_is_no_talk_of_failed_fine_tunes(space: RankSpace) -> None:
    with pytest.raises(RankAdaptorError, match="told no records") as raised:
        make_search(space).result()
    assert "learning_rate" not in str(raised.value)


def test_wrong_arguments_are_named(space: RankSpace) -> None:
    with pytest.raises(InputError, match="expected_improvement, upper_confidence_bound"):
        make_search(space, proposal="magic")
    with pytest.raises(InputError, match="at least 2"):
        make_search(space, candidates=1)
    with pytest.raises(InputError, match="at least one"):
        make_search(space).ask(0)
    with pytest.raises(InputError, match="21 slots"):
        make_search(space).tell(make_oracle(make_space(blocks=2), seed=0)(make_space(blocks=2).reference()))


def test_only_records_of_its_space_are_taken(space: RankSpace) -> None:
    search, oracle = make_search(space), make_oracle(space, seed=0)
    good = oracle(space.sample(1, seed=0)[0])
    for values, message in (
        ((5, *space.reference().values[1:]), "5 is not one of its options"),
        ([slot.options[-1] for slot in space.slots], "too many"),
    ):
        with pytest.raises(InputError, match=rf"not of this search's space: .*{message}"):
            search.tell([good, dataclasses.replace(good, values=values)])
    assert not search.records
    search.tell([good, oracle(space.reference()), as_failed(good)])
    assert len(search.records) == 3


def test_batches_are_measured_together_and_replay(space: RankSpace) -> None:
    oracle, sizes = make_oracle(space, seed=3), []

    def measure(batch: Sequence[Allocation]) -> list[Record]:
        sizes.append(len(batch))
        return [oracle(allocation) for allocation in batch]

    told: list[int] = []
    search = make_search(space, seed=5)
    search.run_batches(measure, evaluations=7, batch=3, on_records=lambda records: told.append(len(records)))
    assert sizes == told == [3, 3, 1]
    one_by_one = make_search(space, seed=5)
    assert one_by_one.run(oracle, evaluations=7, batch=3).records == search.records
    resumed = make_search(space, seed=5)
    resumed.tell(search.records[:3])
    resumed.run_batches(measure, evaluations=7, batch=3)
    assert resumed.records == search.records
    stopped = make_search(space, seed=5)
    stopped.run_batches(measure, evaluations=7, batch=3, until=lambda each: len(each.records) >= 3)
    assert stopped.records == search.records[:3]
    with pytest.raises(InputError, match="batch=0"):
        search.run_batches(measure, evaluations=9, batch=0)
