"""What is planted is found, and where nothing is planted nothing is found beyond the stated rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.evidence import gather_evidence
from experiments.evidence.components import separate_variance
from experiments.evidence.observations import Gains
from experiments.evidence.regimes import FALSE_RATE, WORDS, correct_for_number, decide_regime
from experiments.evidence.winners import find_winner
from tests.experiments.evidence.planted import RECOVERED, plant_corpus
from tests.predictor.oracle import make_space

MATTERS, UNIFORM, UNDECIDED = WORDS
TRIALS = 120


def draw_gains(
    generator: np.random.Generator,
    *,
    spread: float = 0.0,
    shared: float = 1.0,
    crippled: int = 0,
    repeat: str = "even",
) -> tuple[Gains, np.ndarray]:
    """Draw sixty allocations under one seed, eight of them under four more; SDs in units of the rest."""
    effects = spread * generator.normal(size=60)
    effects[:crippled] -= 10 * generator.random(crippled)
    whole = effects[:, None] + shared * generator.normal(size=5) + generator.normal(size=(60, 5))
    chosen = np.linspace(0, 59, 8).astype(int) if repeat == "even" else np.argsort(-whole[:, 0])[:8]
    gains = np.full((60, 5), np.nan)
    gains[:, 0], gains[chosen] = whole[:, 0], whole[chosen]
    labels = np.arange(60)[:, None]
    return Gains(make_space(), 100, 1, labels, np.arange(5), gains, 4.0, 0), effects


def say_matters(gains: Gains) -> bool:
    parts = separate_variance(gains.gains, screen=gains.screen)
    regime = decide_regime(find_winner(gains, parts), pruned_loss=9.0, loss_uniform=4.0)
    return regime.word == MATTERS


@pytest.mark.parametrize(
    "truth",
    [{"shared": 0.0}, {"shared": 2.0}, {"shared": 2.0, "repeat": "best"}, {"shared": 0.5, "crippled": 12}],
    ids=lambda truth: "-".join(map(str, truth.values())),
)
def test_without_an_effect_no_more_is_said_to_matter_than_stated(truth: dict[str, float]) -> None:
    generator = np.random.default_rng(11)
    false = sum(say_matters(draw_gains(generator, **truth)[0]) for _ in range(TRIALS))  # type: ignore[arg-type]
    allowed = FALSE_RATE * TRIALS + 2.5 * np.sqrt(FALSE_RATE * TRIALS)
    assert false <= allowed


def test_noise_and_spread_are_recovered_and_their_intervals_cover() -> None:
    generator = np.random.default_rng(5)
    found, covered, noise_covered, best_covered = [], 0, 0, 0
    for _ in range(TRIALS):
        gains, effects = draw_gains(generator, spread=2.0, shared=1.5)
        parts = separate_variance(gains.gains, screen=gains.screen)
        winner = find_winner(gains, parts)
        assert parts.spread is not None
        assert parts.spread_low is not None
        assert parts.spread_high is not None
        assert parts.noise_low is not None
        assert parts.noise_high is not None
        assert winner is not None
        assert winner.shrunk is not None
        found.append((parts.spread, parts.rest, parts.own))
        covered += parts.spread_low <= 2.0 <= parts.spread_high
        noise_covered += parts.noise_low <= np.hypot(1.5, 1.0) <= parts.noise_high
        best = effects[winner.shrunk.values[0]]
        best_covered += winner.shrunk.low <= best <= winner.shrunk.high
    spread, rest, own = np.mean(np.array(found, dtype=float), axis=0)
    assert spread == pytest.approx(2.0, rel=0.1)
    assert rest == pytest.approx(1.0, rel=0.1)
    assert own == pytest.approx(0.8, abs=0.05)
    for count in (covered, noise_covered, best_covered):
        assert count / TRIALS > 0.9


def test_the_best_is_not_flattered() -> None:
    generator = np.random.default_rng(7)
    errors = []
    for _ in range(TRIALS):
        gains, effects = draw_gains(generator, spread=1.0, shared=0.5, repeat="best")
        winner = find_winner(gains, separate_variance(gains.gains, screen=gains.screen))
        assert winner is not None
        assert winner.fresh is not None
        assert winner.shrunk is not None
        fresh, shrunk = (effects[each.values[0]] for each in (winner.fresh, winner.shrunk))
        lucky = effects[winner.screened_values[0]]
        errors.append((winner.screened - lucky, winner.fresh.gain - fresh, winner.shrunk.gain - shrunk))
    lucky, fresh, shrunk = np.mean(errors, axis=0)
    assert lucky > 0.5
    assert abs(fresh) < 0.15
    assert abs(shrunk) < 0.25


def test_planted_spread_and_depth_are_found_in_a_corpus(tmp_path: Path) -> None:
    corpus = plant_corpus(tmp_path, 3, spread=0.01, noise=0.002, shared=0.001)
    evidence = gather_evidence(corpus)
    for entry in evidence.settings:
        assert entry.components is not None
        assert entry.factors is not None
        assert entry.components.spread == pytest.approx(0.01, rel=0.35)
        assert entry.components.noise == pytest.approx(np.hypot(0.002, 0.001), rel=0.6)
        assert entry.components.own is not None
        assert entry.components.own > 0.85
        assert entry.factors.shares is not None
        assert max(entry.factors.shares, key=lambda name: entry.factors.shares[name]) == "depth"
        assert entry.factors.explained is not None
        assert entry.factors.explained > 0.8
        assert entry.factors.left_out is not None
        assert entry.factors.left_out > 0.7
        assert entry.between_seeds is not None
        assert entry.between_seeds.spearman > 0.6
        assert entry.regime.word == MATTERS
        assert entry.sure_among_all
        assert entry.regime.share == pytest.approx(0.02 / RECOVERED, rel=0.6)


def test_a_null_corpus_says_use_uniform_and_explains_nothing(tmp_path: Path) -> None:
    evidence = gather_evidence(plant_corpus(tmp_path, 8, noise=0.01, shared=0.005))
    words = [entry.regime.word for entry in evidence.settings]
    assert words.count(MATTERS) <= 1
    assert not any(entry.sure_among_all for entry in evidence.settings)
    explained = [entry.factors.explained for entry in evidence.settings if entry.factors is not None]
    assert abs(np.mean(explained)) < 0.1
    assert np.mean([entry.factors.left_out for entry in evidence.settings if entry.factors]) < 0.05


def test_a_sure_gain_can_be_too_small_and_an_unrepeated_one_stays_undecided(tmp_path: Path) -> None:
    small = gather_evidence(plant_corpus(tmp_path / "small", spread=0.0005, noise=0.0001, shared=0.0001))
    assert (small.settings[0].regime.word, small.settings[0].regime.reason) == (
        UNIFORM,
        "significant, but too small",
    )
    once = gather_evidence(plant_corpus(tmp_path / "once", spread=0.01, seeds=1)).settings[0]
    assert (once.regime.word, once.regime.reason) == (UNDECIDED, "not repeated over seeds")
    assert once.components is not None
    assert once.components.noise is None
    assert once.components.spread is None
    assert once.between_seeds is None


def test_short_runs_are_compared_with_the_longest(tmp_path: Path) -> None:
    agreeing = plant_corpus(tmp_path / "a", spread=0.01, noise=0.001, lengths=(25, 50, 100))
    found = gather_evidence(agreeing).settings[0].fidelity
    assert [(each.steps, each.longest) for each in found] == [(25, 100), (50, 100)]
    for each in found:
        assert each.correlation is not None
        assert each.correlation.low > 0.8
        assert each.regret < 0.01
    unlike = plant_corpus(tmp_path / "b", spread=0.0, noise=0.001, lengths=(25, 100))
    pair = gather_evidence(unlike).settings[0].fidelity[0].correlation
    assert pair is not None
    assert pair.low < 0 < pair.high


def test_counting_all_settings_is_stricter() -> None:
    assert correct_for_number({"a": 0.001, "b": 0.02, "c": 0.5}) == {"a", "b"}
    assert correct_for_number({"a": 0.02, "b": 0.03, "c": 0.5}) == set()
    assert correct_for_number({}) == set()
