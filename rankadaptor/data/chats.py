"""Chats as token ids through the tokenizer's chat template, with the loss on the assistant's turns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rankadaptor.data.row import ASSISTANT, IGNORED, Turn
from rankadaptor.errors import InputError

NO_TEMPLATE = (
    "Use the tokenizer of an instruct model of the same family, set tokenizer.chat_template and save it, or "
    'turn the chats into {"prompt", "response"} rows.'
)
DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""Date for templates that write today's (Llama 3.2, Mistral): so that rows do not change from day to day."""
_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")

Encoded = tuple[list[int], list[int]]


def encode_chat(turns: Sequence[Turn], tokenizer: Any, *, place: str) -> list[Encoded]:
    """Turn a chat into token ids and labels.

    The ids are those of `tokenizer.apply_chat_template`; nothing is put before them. Labels are the
    tokens that the template marks as the assistant's (`{% generation %}`), or else the text of each of the
    assistant's turns after the generation prompt, including the mark that ends the turn. If the template has
    no such mark, the end token is added after the last turn. If it writes earlier turns differently from the
    last one (some drop earlier thoughts), each of the assistant's turns becomes a separate sequence.

    Args:
        turns: The messages.
        tokenizer: A Hugging Face tokenizer with a chat template.
        place: Where the chat stands, for messages.

    Returns:
        One `(ids, labels)`, or one per assistant turn; labels are -100 for tokens that are not learned.

    Raises:
        InputError: If there is no template, it refuses the chat, or the assistant's turns cannot be found.
    """
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    if _MARKED.search(get_template(tokenizer, place=place)) and getattr(tokenizer, "is_fast", False):
        marked = _encode_marked(messages, tokenizer, place=place)
        if marked is not None:
            return [marked]
    writer = _Writer(tokenizer, place=place)
    learned = [number for number, turn in enumerate(turns) if turn.role == ASSISTANT and turn.content.strip()]
    answers = [writer.find_answer(messages[: number + 1]) for number in learned]
    found = [answer for answer in answers if answer is not None]
    if len(found) < len(learned):
        raise InputError(
            f"{place}: the chat template rewrites the assistant's turns, so they cannot be found in it. "
            "Mark them in the template with {% generation %}, or give prompt and response."
        )
    whole = writer.write(messages)
    if all(whole.startswith(answer.text.rstrip()) for answer in found):
        return [writer.encode(whole, found, at_end=learned[-1:] == [len(turns) - 1])]
    return [writer.encode(answer.text, [answer], at_end=True) for answer in found]


def encode_whole_chat(turns: Sequence[Turn], tokenizer: Any, *, place: str) -> list[int]:
    """Return the ids of a whole chat, where nothing is learned."""
    get_template(tokenizer, place=place)
    writer = _Writer(tokenizer, place=place)
    text = writer.write([{"role": turn.role, "content": turn.content} for turn in turns])
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def get_template(tokenizer: Any, *, place: str) -> str:
    """Return the tokenizer's chat template.

    Raises:
        InputError: If it has none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{place} is a chat, but the tokenizer has no chat template. {NO_TEMPLATE}")
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise InputError(f"{place}: the tokenizer has no default chat template ({error}).") from error


@dataclass(frozen=True)
class _Answer:
    """Position of an assistant turn in the text of a chat that ends with it.

    Attributes:
        text: That text.
        start: First character that is learned.
        end: Position after the last one.
        marked: Whether the template writes a mark behind the turn.
    """

    text: str
    start: int
    end: int
    marked: bool


class _Writer:
    """A chat template and its tokenizer, with the place of the chat for messages."""

    def __init__(self, tokenizer: Any, *, place: str) -> None:
        self.tokenizer, self.place = tokenizer, place

    def write(self, messages: Sequence[Mapping[str, str]], *, prompt: bool = False) -> str:
        """Return the text of messages, with `prompt` up to where the assistant answers."""
        if not messages:
            return ""
        options = {"tokenize": False, "add_generation_prompt": prompt}
        return str(_apply_template(self.tokenizer, messages, place=self.place, options=options))

    def find_answer(self, messages: Sequence[Mapping[str, str]]) -> _Answer | None:
        """Return the position of the answer in the last message, or None if it cannot be found."""
        text, answer = self.write(messages), messages[-1]["content"].strip()
        before, plain = self.write(messages[:-1], prompt=True), self.write(messages[:-1])
        start = -1
        if before and text.startswith(before):
            # A template without a generation prompt may still write the assistant's name before the answer.
            announced = before != plain or text[len(before) :].lstrip().startswith(answer)
            start = len(before) if announced else text.find(answer, len(before))
        elif text.startswith(plain):
            start = text.find(answer, len(plain))
        if start < 0:
            return None
        behind = text.find(answer, start) + len(answer)
        if behind < len(answer):  # the template writes the answer in another way
            marked = not text.rstrip().endswith(answer[-16:])
        else:
            marked = bool(text[behind:].strip())
        return _Answer(text, start, len(text.rstrip()) if marked else len(text), marked)

    def encode(self, text: str, answers: Sequence[_Answer], *, at_end: bool) -> Encoded:
        """Return ids and labels of a text; `at_end` says that it ends with the last answer."""
        ids, labels = self._label(text, [(answer.start, answer.end) for answer in answers])
        end = self.tokenizer.eos_token_id
        if at_end and end is not None and not answers[-1].marked:
            ids, labels = [*ids, end], [*labels, end]
        return ids, labels

    def _label(self, text: str, spans: Sequence[tuple[int, int]]) -> Encoded:
        """Tokenise a text; every token that reaches into one of the spans is learned."""
        if not getattr(self.tokenizer, "is_fast", False):
            return self._label_apart(text, spans)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = list(encoded["input_ids"])
        labels = [IGNORED] * len(ids)
        for place, (start, end) in enumerate(encoded["offset_mapping"]):
            if any(start < last and end > first for first, last in spans):
                labels[place] = ids[place]
        return ids, labels

    def _label_apart(self, text: str, spans: Sequence[tuple[int, int]]) -> Encoded:
        """Tokenise the spans and the text between them separately, if the tokenizer gives no offsets."""
        ids: list[int] = []
        labels: list[int] = []
        borders = [0, *(border for span in spans for border in span), len(text)]
        for number, (first, last) in enumerate(itertools.pairwise(borders)):
            part = list(
                self.tokenizer(text[first:last], add_special_tokens=False, verbose=False)["input_ids"]
            )
            ids += part
            labels += part if number % 2 else [IGNORED] * len(part)
        return ids, labels


def _encode_marked(messages: Sequence[Mapping[str, str]], tokenizer: Any, *, place: str) -> Encoded | None:
    """Return ids and labels by the template's own marks, or None if it has none."""
    options = {"return_dict": True, "return_assistant_tokens_mask": True}
    encoded = _apply_template(tokenizer, messages, place=place, options=options)
    ids, mask = list(encoded["input_ids"]), list(encoded["assistant_masks"])
    special = set(tokenizer.all_special_ids)
    for number in range(1, len(ids)):  # a template may close the mark before the token that ends the turn
        if (
            mask[number - 1]
            and not mask[number]
            and ids[number] in special
            and ids[number - 1] not in special
        ):
            mask[number] = 1
    if not any(mask):
        return None
    return ids, [token if learned else IGNORED for token, learned in zip(ids, mask, strict=True)]


def _apply_template(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], *, place: str, options: Mapping[str, Any]
) -> Any:
    from jinja2 import TemplateError

    try:
        template = _TODAY.sub(lambda found: repr(DATE.strftime(found[2])), str(tokenizer.get_chat_template()))
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages], chat_template=template, **options
        )
    except (TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise InputError(
            f"{place}: the tokenizer's chat template refuses it ({error}). Most templates need a user's turn "
            "first and alternating turns; some allow no system message."
        ) from error
