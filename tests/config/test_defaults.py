"""A default value is the same in the run file and in the Python API."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from rankadaptor.config import RunConfig
from rankadaptor.defaults import CONFIRMATION, RECOVERY, SEARCH

ON_PURPOSE = {
    ("prune", "calibration"): "a caller gives text where the importance needs it; a run has a section for it",
    ("space", "like_uniform"): "a caller names the budget; a run file begins with one",
    ("evaluate", "limit"): "a run answers a few questions per benchmark, a caller gets whole benchmarks",
    ("recover", "steps"): "None takes those of the recipe, whose default is compared below",
    ("recover", "method"): "None takes that of the recipe, whose default is compared below",
}


def list_pairs() -> list[tuple[str, Any]]:
    """Pair each section of the run file with what takes its values."""
    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.evaluation import evaluate
    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.predictor import meta_train
    from rankadaptor.predictor.networks.training import train_network
    from rankadaptor.proxies import ElasticAdapter, measure_reconstruction, measure_spectra, measure_variance
    from rankadaptor.pruning import prune
    from rankadaptor.recipe import Recipe
    from rankadaptor.recovery import recover
    from rankadaptor.runtime import choose_compute
    from rankadaptor.search import Search, halve
    from rankadaptor.verdict import confirm

    return [
        ("compute", choose_compute),
        ("prune", prune),
        ("prune.calibration", prune),
        ("data", ShortFineTune),
        ("space", RankSpace.from_model),
        ("space", RankSpace.from_linears),
        ("recipe", Recipe),
        ("search", ShortFineTune),
        ("search", Search),
        ("search", Search.run),
        ("search", Search.run_batches),
        ("measure", halve),
        ("measure", ElasticAdapter.train),
        ("measure", measure_spectra),
        ("measure", measure_variance),
        ("measure", measure_reconstruction),
        ("confirm", confirm),
        ("recover", recover),
        ("evaluate", evaluate),
        ("meta_train", meta_train),
        ("meta_train", train_network),
    ]


@pytest.mark.parametrize(
    ("section", "function"),
    [pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}") for pair in list_pairs()],
)
def test_run_file_and_function_have_the_same_default(section: str, function: Any) -> None:
    values: Any = RunConfig()
    for part in section.split("."):
        values = getattr(values, part)
    compared = 0
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "seed":
            assert parameter.default in (RunConfig().seed, None)  # None takes that of another argument
        if name not in type(values).model_fields or parameter.default is parameter.empty:
            continue
        if (section, name) not in ON_PURPOSE:
            assert getattr(values, name) == parameter.default, f"{section}.{name}"
        compared += 1
    assert compared, f"{section} and {function.__name__} have no value in common"


def test_what_no_signature_shows_agrees_too() -> None:
    from rankadaptor.recipe import Recipe

    config = RunConfig()
    assert config.recover.steps == Recipe().steps
    assert config.recipe.model_dump(exclude={"tune"}) == {
        key: value
        for key, value in dataclasses.asdict(Recipe()).items()
        if key not in ("steps", "reference_rank", "method", "virtual_tokens", "bottleneck_width")
    }
    assert config.recover.method == Recipe().method
    assert config.space.like_uniform == Recipe().reference_rank
    assert config.recover.evaluate_every is None
    assert RECOVERY.space_evaluations(400) == 80
    assert RECOVERY.space_evaluations(3) == 1
    assert config.seed < CONFIRMATION.first_seed
    assert config.search.mean_until == SEARCH.mean_until
