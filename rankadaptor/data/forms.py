"""The forms of a row: the meaning of its fields, and the treatment of unused fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankadaptor.data.row import Row
from rankadaptor.data.turns import check_text, list_texts, read_turns
from rankadaptor.errors import InputError
from rankadaptor.kit import format_alpaca

FORMS = (
    '{"prompt", "response" or "completion"}, both texts or both lists of messages; {"instruction", '
    '"output" or "response", and optionally "input" or "context", "system", "history"}; '
    '{"question" or "query", "answer" or "response"}, with the same options; {"text"}; '
    'or a chat, {"messages": [{"role", "content"}, …]} or {"conversations": [{"from", '
    '"value"}, …]}'
)

# Metadata fields: they may hold text and are left out.
IGNORED = frozenset(
    {
        "_id", "answer_id", "author", "category", "conversation_id", "created", "created_at", "dataset",
        "date", "difficulty", "domain", "generator", "hash", "id", "idx", "index", "lang", "language",
        "license", "message_id", "meta", "metadata", "model", "name", "prompt_id", "qid", "question_id",
        "row_id", "source", "split", "subset", "tags", "timestamp", "title", "topic", "type", "uid",
        "unnamed: 0", "url", "user_id", "uuid", "version", "",
    }
)  # fmt: skip

_SYSTEM = ("system", "system_prompt")
_GIVEN = ("input", "context")


@dataclass(frozen=True)
class Form:
    """One form of a row.

    Attributes:
        heads: Names of the field that identifies the form.
        answers: Names of the field to learn; empty if the head itself is learned.
        options: Names of further fields, one tuple per meaning.
        build: Makes the row from the place of the item and a function that takes one of several fields.
    """

    heads: tuple[str, ...]
    answers: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    build: Callable[[_Fields], Row]


class _Fields:
    """The fields of one item, and which of them have been used.

    Args:
        item: The item.
        form: The form it is read in.
        place: Where it stands, for messages.
    """

    def __init__(self, item: Mapping[str, Any], form: Form, *, place: str) -> None:
        self.item, self.form, self.place = item, form, place
        self.used: dict[str, Any] = {}

    def take(self, names: Sequence[str], default: str | None = None) -> str:
        """Use the first of several fields that is given, and return its text."""
        name, value = self.find(names)
        if value is None:
            value = default
        if isinstance(value, str):
            return check_text(value, place=f"{self.place}: {name}")
        fault = "is missing" if value is None else f"is {type(value).__name__} instead of text"
        raise InputError(f"{self.place}: {name} {fault}. Each row is {FORMS}.")

    def find(self, names: Sequence[str]) -> tuple[str, Any]:
        """Use the first of several given fields, preferably one that is not empty."""
        given = [name for name in names if self.item.get(name) is not None]
        name = next((name for name in given if list_texts(self.item[name])), (given or names)[0])
        if name in given:
            self.used[name] = self.item[name]
        return name, self.item.get(name)


def _build_chat(fields: _Fields) -> Row:
    system = fields.take(_SYSTEM, "")
    name, value = fields.find(fields.form.heads)
    return Row("", "", read_turns(value, place=f"{fields.place}: {name}", system=system))


def _build_prompt(fields: _Fields) -> Row:
    name, value = fields.find(fields.form.heads)
    if not _is_list(value) and not hasattr(value, "tolist"):
        return Row(fields.take(fields.form.heads), fields.take(fields.form.answers))
    answer, messages = fields.find(fields.form.answers)  # messages, as TRL has them
    asked = read_turns(value, place=f"{fields.place}: {name}")
    return Row("", "", (*asked, *read_turns(messages, place=f"{fields.place}: {answer}")))


def _build_instruction(fields: _Fields) -> Row:
    prompt = format_alpaca(
        fields.take(fields.form.heads),
        fields.take(_GIVEN, ""),
        system=fields.take(_SYSTEM, ""),
        history=_read_history(fields),
    )
    return Row(prompt, fields.take(fields.form.answers))


def _build_text(fields: _Fields) -> Row:
    return Row("", fields.take(fields.form.heads))


def _read_history(fields: _Fields) -> list[tuple[str, str]]:
    """Return earlier exchanges, pairs of what was asked and what was answered."""
    _, value = fields.find(("history",))
    place = f"{fields.place}: history"
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    pairs = [
        each.tolist() if hasattr(each, "tolist") else each for each in (value if _is_list(value) else [value])
    ]
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InputError(f'{place} is a list of pairs ["asked", "answered"], given is {value!r:.80}.')
    return [(check_text(asked, place=place), check_text(answered, place=place)) for asked, answered in pairs]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_OPTIONS = (_GIVEN, _SYSTEM, ("history",))
_FORMS = (
    Form(("messages", "conversations", "conversation"), (), (_SYSTEM,), _build_chat),
    Form(("prompt",), ("response", "completion"), (), _build_prompt),
    Form(("instruction",), ("output", "response"), _OPTIONS, _build_instruction),
    Form(("question", "query"), ("response", "answer", "answers"), _OPTIONS, _build_instruction),
    Form(("text",), (), (), _build_text),
    Form(("response",), (), (), _build_text),  # as with an empty prompt
)


def read_item(item: Row | Mapping[str, Any] | str, *, place: str) -> tuple[Row, frozenset[str]]:
    """Turn one item into a row, and return the names of the metadata fields that were left out.

    A form fits if its fields are there and no other field has text that would be lost; the first one that
    fits is used. Text is not lost if a used field contains it too, for example if a field repeats the row.

    Args:
        item: A row, a dict in one of the forms, or plain text.
        place: Where it stands, for messages.

    Raises:
        InputError: If it has none of the forms, a field is not text, or text would be lost.
    """
    if isinstance(item, Row):
        return item, frozenset()
    if isinstance(item, str):
        return Row(prompt="", response=check_text(item, place=place)), frozenset()
    if not isinstance(item, Mapping):
        raise InputError(f"{place}: {type(item).__name__} is not a row. Each row is {FORMS}.")
    _refuse_unwanted(item, place=place)
    fitting = [form for form in _FORMS if any(item.get(head) is not None for head in form.heads)]
    complete = [
        form
        for form in fitting
        if not form.answers or any(item.get(answer) is not None for answer in form.answers)
    ]
    if not fitting:
        raise InputError(f"{place}: keys are {', '.join(map(str, item)) or 'none'}. Each row is {FORMS}.")
    faults = []
    for form in complete or fitting[:1]:
        fields = _Fields(item, form, place=place)
        row = form.build(fields)
        unused = {str(key): value for key, value in item.items() if key not in fields.used}
        if not (lost := _list_lost(unused, fields.used)):
            return row, frozenset(key for key in unused if list_texts(unused[key]))
        faults.append((list(fields.used), lost))
    used, lost = faults[0]
    raise InputError(
        f"{place}: {', '.join(lost)} would not be used, only {', '.join(used)}. Remove or rename the "
        f"fields that are not meant, or give them in one of the forms: {FORMS}."
    )


def _refuse_unwanted(item: Mapping[str, Any], *, place: str) -> None:
    """Refuse rows whose answer should not be learned, or has another weight.

    Raises:
        InputError: If the row holds a preference, or a weight besides 1.
    """
    if all(list_texts(item.get(key)) for key in ("chosen", "rejected")):
        raise InputError(
            f"{place}: a preference (chosen, rejected), of which recovery can learn the better answer only. "
            'Give chosen as "response" after a "prompt", or a chat as "messages", and leave rejected out.'
        )
    if item.get("label") is False:
        raise InputError(
            f"{place}: label is false, so its answer should not be learned. Keep the rows whose label is "
            "true; if label means another thing here, remove or rename it."
        )
    weight = item.get("weight")
    if isinstance(weight, int | float) and weight != 1:
        raise InputError(
            f"{place}: weight {weight} is not supported, only 1. Remove the row, or the field if it means "
            "another thing."
        )


def _list_lost(unused: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
    """Return the unused fields with text that no used field has."""
    kept = [text.strip() for text in list_texts(used)]
    lost = []
    for key, value in unused.items():
        texts = [] if key.lower() in IGNORED else [text.strip() for text in list_texts(value)]
        if any(
            not any(text in whole for whole in kept) and not (kept and all(part in text for part in kept))
            for text in texts
        ):
            lost.append(key)
    return lost
