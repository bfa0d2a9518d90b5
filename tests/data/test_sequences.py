"""Token sequences: what is learned, what is cut, and in which order it is seen."""

from __future__ import annotations

import copy
import itertools

import pytest
from tokenizers.processors import TemplateProcessing

from rankadaptor.data import Row, TokenSequence, draw_batches, make_batch, tokenise_rows
from rankadaptor.errors import InputError


def test_only_the_response_and_its_end_are_learned(pico_tokenizer):
    row = Row("Question: which?\nAnswer:", " the first one.")
    (sequence,) = tokenise_rows([row], pico_tokenizer, max_length=64)
    prompt = pico_tokenizer(row.prompt, add_special_tokens=False)["input_ids"]
    assert pico_tokenizer.decode(sequence.input_ids) == row.prompt + row.response + "<eos>"
    assert sequence.labels[: len(prompt)] == (-100,) * len(prompt)
    assert sequence.labels[len(prompt) :] == sequence.input_ids[len(prompt) :]
    assert sequence.input_ids[-1] == pico_tokenizer.eos_token_id
    assert sequence.targets == len(sequence) - len(prompt)


def test_a_row_begins_as_the_tokenizer_begins_texts(pico_tokenizer):
    row = Row("Name a fox.", "Reynard")
    (without,) = tokenise_rows([row], pico_tokenizer, max_length=64)
    starting = copy.deepcopy(pico_tokenizer)
    token = starting.convert_ids_to_tokens(starting.eos_token_id)
    starting.bos_token = token
    starting.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, starting.eos_token_id)]
    )
    (sequence,) = tokenise_rows([row], starting, max_length=64)
    assert sequence.input_ids == (starting.bos_token_id, *without.input_ids)
    assert sequence.targets == without.targets


def test_plain_text_is_packed_into_full_pieces(pico_tokenizer):
    rows = [Row("", "The quick brown fox jumps over the lazy dog.")] * 10
    sequences = tokenise_rows(rows, pico_tokenizer, max_length=32)
    one = [
        *pico_tokenizer(rows[0].response, add_special_tokens=False)["input_ids"],
        pico_tokenizer.eos_token_id,
    ]
    assert all(len(sequence) == 32 and sequence.labels == sequence.input_ids for sequence in sequences)
    joined = list(itertools.chain.from_iterable(sequence.input_ids for sequence in sequences))
    assert joined == (one * 10)[: len(one) * 10 // 32 * 32]


def test_a_text_shorter_than_one_piece_is_kept(pico_tokenizer):
    (sequence,) = tokenise_rows([Row("", "The fox.")], pico_tokenizer, max_length=512)
    assert 2 < len(sequence) < 20


def test_packing_can_be_chosen(pico_tokenizer):
    rows = [Row("Question:", " yes"), Row("", "A river runs.")] * 4
    assert len(tokenise_rows(rows, pico_tokenizer, max_length=64, pack=False)) == 8
    packed = tokenise_rows(rows, pico_tokenizer, max_length=32, pack=True)
    assert all(len(sequence) == 32 for sequence in packed)
    assert any(-100 in sequence.labels for sequence in packed)
    mixed = tokenise_rows(rows, pico_tokenizer, max_length=16)
    assert mixed[0].labels[0] == -100
    assert len(mixed[-1]) == 16


def test_rows_whose_prompt_fills_the_sequence_are_left_out(pico_tokenizer, caplog):
    rows = [Row("Question: " * 30, " yes"), Row("Question:", " yes")]
    assert len(tokenise_rows(rows, pico_tokenizer, max_length=16)) == 1
    assert "1 of 2 sequences are longer than 16 tokens" in caplog.text
    with pytest.raises(InputError, match="max_length longer than the prompts"):
        tokenise_rows(rows[:1], pico_tokenizer, max_length=16)
    with pytest.raises(InputError, match="None of 0 rows"):
        tokenise_rows([], pico_tokenizer, max_length=16)
    with pytest.raises(InputError, match="max_length=1"):
        tokenise_rows(rows, pico_tokenizer, max_length=1)


def test_a_tokenizer_without_an_end_is_refused(pico_tokenizer):
    import copy

    endless = copy.deepcopy(pico_tokenizer)
    endless.eos_token = None
    with pytest.raises(InputError, match="no end token"):
        tokenise_rows([Row("", "text")], endless, max_length=16)


def test_padding_does_not_change_the_loss(pico_tokenizer, pico_model):
    import torch

    rows = [Row("Question: which?", " the first"), Row("A", " river runs through the old town")]
    sequences = tokenise_rows(rows, pico_tokenizer, max_length=64)
    batch = make_batch(sequences, pad_id=pico_tokenizer.pad_token_id)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, max(map(len, sequences)))
    assert batch["attention_mask"].sum(1).tolist() == [len(sequence) for sequence in sequences]
    model = pico_model(blocks=2)
    with torch.no_grad():
        together = model(**batch).loss.item()
        alone = [model(**make_batch([sequence], pad_id=0)).loss.item() for sequence in sequences]
    weights = [sequence.targets for sequence in sequences]
    mean = sum(loss * weight for loss, weight in zip(alone, weights, strict=True)) / sum(weights)
    assert together == pytest.approx(mean, abs=1e-5)
    with pytest.raises(InputError):
        make_batch([], pad_id=0)


def test_batches_repeat_are_prefix_stable_and_visit_everything():
    batches = list(draw_batches(10, batch_size=4, steps=10, seed=7))
    assert list(draw_batches(10, batch_size=4, steps=10, seed=7)) == batches
    assert list(draw_batches(10, batch_size=4, steps=3, seed=7)) == batches[:3]
    assert list(draw_batches(10, batch_size=4, steps=10, seed=8)) != batches
    stream = list(itertools.chain.from_iterable(batches))
    for start in range(0, 40, 10):
        assert sorted(stream[start : start + 10]) == list(range(10))
    assert stream[:10] != stream[10:20]
    assert all(isinstance(index, int) for index in stream)


def test_batches_larger_than_the_data():
    (batch,) = draw_batches(3, batch_size=8, steps=1, seed=0)
    assert len(batch) == 8
    assert set(batch) == {0, 1, 2}


@pytest.mark.parametrize("wrong", [{"count": 0}, {"batch_size": 0}, {"steps": -1}])
def test_senseless_draws_are_refused_at_once(wrong):
    settings = {"count": 4, "batch_size": 2, "steps": 2, "seed": 0} | wrong
    with pytest.raises(InputError):
        draw_batches(settings.pop("count"), **settings)


def test_targets_leave_out_the_first_token():
    assert TokenSequence((1, 2, 3), (1, 2, 3)).targets == 2


def test_what_is_cut_is_counted_once_per_source(pico_tokenizer, caplog):
    rows = [Row("Q", " yes" * 60)] * 3 + [Row("Question: " * 30, " no"), Row("Q", " no")]
    for _ in range(2):
        tokenise_rows(rows, pico_tokenizer, max_length=16, source="rows.jsonl")
    (record,) = caplog.records
    whole = tokenise_rows(rows, pico_tokenizer, max_length=512)
    kept = sum(sequence.targets for sequence in tokenise_rows(rows, pico_tokenizer, max_length=16))
    lost = 100 * (1 - kept / sum(sequence.targets for sequence in whole))
    assert record.getMessage().startswith(
        f"rows.jsonl: 4 of 5 sequences are longer than 16 tokens and lose their end, with {lost:.1f} % "
        "of the tokens to learn; 1 have nothing left to learn"
    )
    assert record.levelname == "WARNING"
