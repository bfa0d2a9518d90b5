"""Forms of a row: what each field means, and that no text is dropped without a word."""

from __future__ import annotations

import logging

import pytest

from rankadaptor.data import Row, Turn, digest_rows, load_rows
from rankadaptor.data.forms import read_item
from rankadaptor.errors import InputError
from rankadaptor.kit import format_alpaca

CHAT = (Turn("system", "Be brief."), Turn("user", "Two and two?"), Turn("assistant", "Four."))


@pytest.mark.parametrize(
    ("item", "row"),
    [
        ({"prompt": "2+2=", "completion": " 4"}, Row("2+2=", " 4")),
        (
            {"instruction": "Which metal?", "context": "Copper roof.", "response": "Copper.", "source": "a"},
            Row(format_alpaca("Which metal?", "Copper roof."), "Copper."),
        ),
        ({"instruction": "Sing.", "response": "la"}, Row(format_alpaca("Sing."), "la")),
        ({"query": "2+2?", "response": "4"}, Row(format_alpaca("2+2?"), "4")),
        ({"id": "7", "question": "2+2?", "answer": "4"}, Row(format_alpaca("2+2?"), "4")),
        (
            {"context": "Two apples.", "question": "How many?", "answers": "Two."},
            Row(format_alpaca("How many?", "Two apples."), "Two."),
        ),
        (
            {
                "instruction": "And the second?", "input": "", "output": "Blue.",
                "system": "You list colours.", "history": [["First colour?", "Red."]],
            },
            Row(
                "You list colours.\n\n### Instruction:\nFirst colour?\n\n### Response:\nRed.\n\n"
                "### Instruction:\nAnd the second?\n\n### Response:\n",
                "Blue.",
            ),
        ),
        # fields that repeat what is used lose nothing: the rows of tatsu-lab/alpaca and of UltraChat
        (
            {"instruction": "Sing.", "input": "", "output": "la", "text": "… Sing. Response: la"},
            Row(format_alpaca("Sing."), "la"),
        ),
        ({"prompt": "a", "completion": "b", "text": "ab"}, Row("a", "b")),
        (
            {
                "prompt": "Two and two?", "prompt_id": "f00",
                "messages": [{"role": turn.role, "content": turn.content} for turn in CHAT],
            },
            Row("", "", CHAT),
        ),
        (  # TRL's prompt and completion as messages
            {
                "prompt": [{"role": turn.role, "content": turn.content} for turn in CHAT[:2]],
                "completion": [{"role": "assistant", "content": "Four."}],
            },
            Row("", "", CHAT),
        ),
        (
            {
                "system": "Be brief.", "id": "x",
                "conversations": [
                    {"from": "human", "value": "Two and two?"},
                    {"from": "gpt", "value": "Four.", "weight": None},
                ],
            },
            Row("", "", CHAT),
        ),
        (
            {
                "conversations": [
                    {"role": "system", "content": [{"type": "text", "text": "Be "}, {"text": "brief."}]},
                    {"role": "user", "content": "Two and two?"},
                    {"role": "assistant", "content": "Four."},
                ],
                "tools": None,
            },
            Row("", "", CHAT),
        ),
    ],
)  # fmt: skip
def test_usual_forms(item, row):
    assert load_rows([item]) == [row]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"prompt": "a", "completion": "b", "text": "c"},
            "row 0: text would not be used, only prompt, completion",
        ),
        ({"prompt": "a", "response": "b", "system": "s"}, "row 0: system would not be used"),
        ({"prompt": "a", "text": "b"}, "row 0: prompt would not be used, only text"),
        ({"text": "a", "summary": ["b", "c"]}, "row 0: summary would not be used"),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "row 0: a preference"),
        ({"instruction": "i", "output": "o", "response": "r"}, "response would not be used"),
        ({"instruction": "i", "input": "a", "context": "b", "output": "o"}, "context would not be used"),
        ({"question": "q", "answers": {"text": ["a"]}}, "row 0: answers is dict instead of text"),
        ({"instruction": "i", "output": "o", "history": ["a", "b"]}, "history is a list of pairs"),
        ({"messages": "hello"}, "row 0: messages is str instead of a list"),
        ({"messages": ["hello"]}, r"messages\[0\] is str instead of a message"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role 'tool' is not known. Allowed: system, user"),
        ({"messages": [{"role": "user", "content": None}]}, "content is missing"),
        ({"messages": [{"user": "x"}]}, "has the keys user"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "text": "x"}]}]},
            "part that is not text",
        ),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]},
            "has tool_calls besides role and content",
        ),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 0}]}, "weight 0 is not supported"),
        (
            {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "f"}]},
            "tools would not be used",
        ),
        (
            {"system": "One.", "messages": [{"role": "system", "content": "Other."}]},
            "another text of the system",
        ),
    ],
)
def test_no_text_is_dropped_without_a_word(item, message):
    with pytest.raises(InputError, match=message):
        load_rows([item])


def test_fields_about_a_row_are_left_out_and_named_once(caplog):
    caplog.set_level(logging.INFO, logger="rankadaptor")
    rows = [{"text": "An article about foxes.", "url": "there", "title": "Foxes of the north", "score": 0.5}]
    for _ in range(2):
        assert load_rows(rows) == [Row("", "An article about foxes.")]
    assert [record.getMessage() for record in caplog.records] == [
        "a sequence of 1 rows: not read: title, url"
    ]


def test_chats_have_digests_and_are_left_out_where_nobody_answers(caplog):
    silent = {"messages": [{"role": "user", "content": "Hello?"}]}
    rows = load_rows([silent, {"messages": [{"role": "assistant", "content": "Hello."}]}])
    assert [row.turns for row in rows] == [(Turn("assistant", "Hello."),)]
    assert "1 of 2 rows have nothing to learn" in caplog.text
    assert rows[0].is_chat
    assert not rows[0].is_text
    digests = {digest_rows([Row("", "", CHAT[:count])]) for count in range(4)}
    assert len(digests) == 4
    assert digest_rows([Row("a", "b"), Row("", "c")]) == "d6c7e42319ecfd3a"  # as ever


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"prompt": "2+2=", "chosen": "4", "rejected": "5"}, "row 3: a preference .* leave rejected out"),
        ({"chosen": [{"role": "user", "content": "4"}], "rejected": ["5"]}, "a preference"),
        ({"prompt": "2+2=", "completion": "5", "label": False}, "label is false, .* should not be learned"),
        ({"prompt": "2+2=", "completion": "5", "weight": 0.0}, "weight 0.0 is not supported, only 1"),
    ],
)
def test_answers_that_are_not_wanted_are_not_learned(item, message):
    with pytest.raises(InputError, match=message):
        read_item(item, place="row 3")
    wanted = {"prompt": "2+2=", "completion": "4", "label": True, "weight": 1.0, "rejected": None}
    assert read_item(wanted, place="row 3")[0] == Row("2+2=", "4")
