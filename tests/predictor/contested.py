"""A corpus that predictors can be judged on."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.corpus import Corpus, Record, Setting
from tests.predictor.oracle import Oracle, make_oracle, make_space, measure_sample


def measure_repeatedly(oracle: Oracle, count: int, *, repeated: int, seed: int = 0) -> list[Record]:
    """Measure a sample, its first allocations under a second seed too."""
    records = measure_sample(oracle, count, seed=seed)
    return [*records, *(oracle(oracle.space.allocation(r.values), seed=1) for r in records[:repeated])]


def make_corpus(folder: Path) -> Path:
    """Four settings of known truth, the last one held out."""
    made = Corpus.create(folder)
    for index, name in enumerate(("one", "two", "three", "kept")):
        space = make_space(blocks=3 + index, slots="half_block")
        parts = {"model": {"name": name}, "pruning": {}, "data": {}, "recipe": {}}
        made.add_setting(Setting(name=name, space=space.to_json(), held_out=name == "kept", **parts))
        for record in measure_repeatedly(make_oracle(space, seed=index, shared=5, noise=0.3), 24, repeated=8):
            made.append(type(record)(**{**record.__dict__, "setting": name}))
    return folder
