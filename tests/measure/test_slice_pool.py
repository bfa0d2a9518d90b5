from __future__ import annotations

import itertools

import pytest

from rankadaptor.corpus import RecordFile
from rankadaptor.errors import InputError
from rankadaptor.measure import SlicePool
from rankadaptor.model import save_pruned
from tests.measure.slices import build_saved, make_space


def test_scores_are_the_same_on_any_number_of_workers_and_resume(pico_model, pico_tokenizer, tmp_path):
    model = pico_model("llama", 3, tie_word_embeddings=True)
    save_pruned(model, pico_tokenizer, tmp_path / "model")
    arguments = (str(tmp_path / "model"),)
    space = make_space(model)
    allocations = [space.from_choices(c) for c in itertools.product((0, 1), (0, 2), (0, 1), (0, 1))]
    with SlicePool(build_saved, arguments, workers=1) as pool:
        one = pool.measure(allocations)
    path = tmp_path / "records.jsonl"
    told = []
    with SlicePool(build_saved, arguments, workers=2, records=RecordFile(path)) as pool:
        pool.measure(allocations[:5], on_record=told.append)
        assert [record.values for record in told] == [a.values for a in allocations[:5]]
        two = pool.measure(allocations, on_record=told.append)
        few = pool(allocations[3], tokens=20)
        with pytest.raises(InputError, match=r"tokens=1000: the sequences hold 96"):
            pool(allocations[3], tokens=1000)
    assert len(told) == len(allocations)
    for mine, theirs in zip(one, two, strict=True):
        assert (mine.setting, mine.values, mine.metrics) == (theirs.setting, theirs.values, theirs.metrics)
        assert mine.sequence_losses == theirs.sequence_losses
    assert few.fidelity < 1.0
    stored = RecordFile(path)
    assert len(stored) == len(allocations) + 1
    with SlicePool(build_saved, arguments, records=stored) as pool:
        assert pool.measure([*allocations, allocations[0]], on_record=told.append) == [*two, two[0]]
    assert len(told) == len(allocations)
