"""Chats: what the template writes, what is learned of it, and what cannot be learned."""

from __future__ import annotations

import copy

import pytest

import rankadaptor as ra
from rankadaptor.data import Row, Turn, tokenise_rows
from rankadaptor.errors import InputError
from rankadaptor.pruning.calibration import make_calibration

TURNS = (
    Turn("system", "Be brief."),
    Turn("user", "Which river?"),
    Turn("assistant", "The first one."),
    Turn("user", "Is this true?"),
    Turn("assistant", "It is."),
)
MESSAGES = [{"role": turn.role, "content": turn.content} for turn in TURNS]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{{ '<eos>\n' }}{% endfor %}"
)
# As Qwen3: thoughts, even empty ones, only in the last turn of the assistant.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# No mark behind a turn, no generation prompt.
BARE = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + '<eos>' }}"
    "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)


@pytest.fixture
def chat(pico_tokenizer):
    """Return a function that tokenises the chat with a template and decodes what is learned."""

    def tokenise(template, turns=TURNS):
        tokenizer = copy.deepcopy(pico_tokenizer)
        tokenizer.chat_template = template
        sequences = tokenise_rows([Row("", "", tuple(turns))], tokenizer, max_length=256)
        learned = []
        for sequence in sequences:
            kept = zip(sequence.input_ids, sequence.labels, strict=True)
            learned.append(tokenizer.decode([token for token, label in kept if label == token]))
        return tokenizer, sequences, learned

    return tokenise


def test_the_ids_are_the_template_s_and_only_the_assistant_is_learned(chat):
    tokenizer, (sequence,), learned = chat(CHATML)
    expected = tokenizer.apply_chat_template(MESSAGES)["input_ids"]
    assert list(sequence.input_ids) == expected  # nothing before, nothing behind
    assert learned == ["The first one.<|im_end|>It is.<|im_end|>"]
    _, _, learned = chat(CHATML, TURNS[:4])  # a chat may end with the user
    assert learned == ["The first one.<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (MARKED, ["The first one.<eos>It is.<eos>"]),
        (BARE, ["The first one.\nIt is.\n<eos>"]),
        (MISTRAL, [" The first one.<eos> It is.<eos>"]),
        # each turn is a sequence of its own, written as the model will write it
        (THINKING, ["<think></think>The first one.<|im_end|>", "<think></think>It is.<|im_end|>"]),
    ],
)
def test_templates_of_other_kinds(chat, template, expected):
    _, _, learned = chat(template)
    assert learned == expected


def test_a_start_token_of_the_template_is_not_doubled(chat, pico_tokenizer):
    tokenizer, (sequence,), _ = chat("{{ '<eos>' }}" + CHATML)
    assert sequence.input_ids[0] == tokenizer.eos_token_id
    assert sequence.input_ids[1] != tokenizer.eos_token_id


def test_templates_that_write_the_date_write_the_same_one_on_every_day(chat):
    tokenizer, (sequence,), _ = chat("{{ strftime_now('%d %b %Y') }} " + CHATML)
    assert tokenizer.decode(sequence.input_ids).startswith("26 Jul 2024 <|im_start|>system")


def test_chats_calibrate_too(chat):
    tokenizer, (sequence,), _ = chat(CHATML)
    windows = make_calibration([Row("", "", TURNS)], tokenizer, examples=1, length=len(sequence), seed=0)
    assert windows[0].tolist() == list(sequence.input_ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            None,
            "row 0 is a chat, but the tokenizer has no chat template. Use the tokenizer of an instruct model",
        ),
        (
            "{{ raise_exception('no system') }}",
            r"row 0: the .* chat template refuses it \(no system\)",
        ),
        ("{{ messages | length }}", "rewrites the assistant's turns"),
        ("{% if %}", "refuses it"),
    ],
)
def test_what_no_template_can_write_is_refused(chat, template, message):
    with pytest.raises(InputError, match=message):
        chat(template)


def test_chats_train(chat, pico_model):
    tokenizer, _, _ = chat(CHATML)
    model = pico_model(blocks=1)
    space = ra.RankSpace.from_model(model, like_uniform=2, slots="linear")
    recipe = ra.Recipe(batch_size=2, micro_batch_size=2, sequence_length=128, steps=2)
    rows = [{"messages": MESSAGES}, {"conversations": [{"from": "gpt", "value": "A fox."}]}]
    adapter = ra.recover(
        model, tokenizer, space.reference(), data=iter(rows), held_out=["A river."], recipe=recipe
    )
    assert set(adapter.peft_config) == {"default"}


@pytest.mark.kit
def test_the_kit_s_template():
    from rankadaptor.named_models import load_tokenizer

    tokenizer = load_tokenizer("kit:smollm2-135m")
    (sequence,) = tokenise_rows([Row("", "", TURNS)], tokenizer, max_length=256)
    assert list(sequence.input_ids) == tokenizer.apply_chat_template(MESSAGES)["input_ids"]
    learned = [label for label in sequence.labels if label != -100]
    assert tokenizer.decode(learned) == "The first one.<|im_end|>It is.<|im_end|>"
    assert learned[-1] == tokenizer.eos_token_id
