from __future__ import annotations

import itertools

import pytest

from rankadaptor.data import Row, build_text_sets
from rankadaptor.data.windows import digest_document
from rankadaptor.errors import InputError

SIZES = {"calibration": 96, "search": 160, "training": 200, "judging": 96, "other": 64}


def write_documents(mark: str, count: int, *, words: int) -> list[str]:
    return [
        f"{mark}{index} " + " ".join(f"{mark}{index * n % 7}" for n in range(words)) for index in range(count)
    ]


@pytest.fixture
def sources() -> dict[str, list[str]]:
    return {
        "long": write_documents("A", 40, words=40),
        "short": write_documents("B", 150, words=4),
        "judging": write_documents("C", 30, words=20),
        "other": write_documents("D", 30, words=20),
    }


def build(tokenizer, sources, **options):
    given = [[Row("", text) for text in sources["long"]], sources["short"]]
    settings = {
        "sources": given, "judging": sources["judging"], "other": sources["other"], "length": 32,
        "tokens": SIZES,
    } | options  # fmt: skip
    return build_text_sets(tokenizer, **settings)


def list_sets(texts):
    return {name: getattr(texts, name) for name in SIZES}


def test_sets_share_no_document_and_have_the_sizes_asked_for(pico_tokenizer, sources):
    # The same document in two sources, spaced differently, is one.
    sources["short"] += [text.replace(" ", "  ") for text in sources["judging"] + sources["long"]]
    sets = list_sets(build(pico_tokenizer, sources))
    assert {name: each.tokens for name, each in sets.items()} == SIZES | {"training": 224}
    for one, other in itertools.combinations(sets.values(), 2):
        assert not {digest_document(row) for row in one.rows} & {digest_document(row) for row in other.rows}
    assert all(
        len(sequence) == 32 == sequence.targets + 1 for each in sets.values() for sequence in each.sequences
    )
    assert all(row.response.startswith("C") for row in sets["judging"].rows)
    assert all(row.response.startswith("D") for row in sets["other"].rows)


def test_every_leading_part_mixes_the_sources(pico_tokenizer, sources):
    texts = build(pico_tokenizer, sources)
    marks = ["A" in pico_tokenizer.decode(sequence.input_ids) for sequence in texts.search.sequences]
    assert marks == [True, False, True, False, True]
    first = texts.search.sequences[0].input_ids
    assert (
        sum(pico_tokenizer.decode(first) in row.response for row in texts.search.rows) == 1
    )  # one document's own
    joined = texts.search.sequences[1].input_ids
    assert pico_tokenizer.eos_token_id in joined


def test_sets_repeat_and_training_text_does_not_change_what_judges(pico_tokenizer, sources):
    texts = build(pico_tokenizer, sources)
    assert build(pico_tokenizer, sources) == texts
    more = build(pico_tokenizer, sources, tokens=SIZES | {"training": 640})
    assert (more.judging, more.other, more.search) == (texts.judging, texts.other, texts.search)
    assert build(pico_tokenizer, sources, seed=1).search != texts.search
    alone = build(pico_tokenizer, sources, judging=None, other=None)
    assert alone.other is None
    assert not {*alone.judging.rows} & {*alone.search.rows, *alone.training.rows, *alone.calibration.rows}


def test_too_little_text_and_bad_numbers_are_refused(pico_tokenizer, sources):
    with pytest.raises(
        InputError, match=r"30 rows: too little text for the judging set: it gives 30 windows of 32"
    ):
        build(pico_tokenizer, sources, tokens=SIZES | {"judging": 10_000})
    with pytest.raises(
        InputError, match=r"calibration set: it gives 0 windows of 256 tokens.*a length below 256"
    ):
        build_text_sets(
            pico_tokenizer, sources=[["a short text"]], judging=write_documents("C", 9, words=300),
            length=256, tokens={"judging": 256, "calibration": 1, "search": 1},
        )  # fmt: skip
    with pytest.raises(InputError, match=r"names serach\. The sets are calibration"):
        build(pico_tokenizer, sources, tokens={"serach": 5})
    with pytest.raises(InputError, match="length=1"):
        build(pico_tokenizer, sources, length=1)
    with pytest.raises(InputError, match="must be a list of sources"):
        build_text_sets(pico_tokenizer, sources="kit:c4")
