"""Chats: lists of messages with the keys of OpenAI (role, content) or ShareGPT (from, value)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rankadaptor.data.row import ASSISTANT, SYSTEM, USER, Turn
from rankadaptor.errors import InputError

ROLES = {
    "system": SYSTEM, "user": USER, "human": USER, "assistant": ASSISTANT, "gpt": ASSISTANT,
}  # fmt: skip
MESSAGE_FORMS = '{"role": "user", "content": "…"} or {"from": "human", "value": "…"}'
_KEYS = (("role", "content"), ("from", "value"))
_ABOUT_A_MESSAGE = ("id", "name", "weight", "timestamp", "model", "tool_call_id")


def read_turns(value: Any, *, place: str, system: str = "") -> tuple[Turn, ...]:
    """Read the messages of a chat.

    Args:
        value: A list of messages.
        place: Where it stands, for the message of an error.
        system: Text of the system, put first.

    Raises:
        InputError: If it is no list of messages, a message has another role or holds something besides text,
            or two texts of the system are given.
    """
    if hasattr(value, "tolist"):  # what pandas makes of a list in a Parquet file
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(
            f"{place} is {type(value).__name__} instead of a list of messages, each {MESSAGE_FORMS}."
        )
    turns = [_read_turn(message, place=f"{place}[{number}]") for number, message in enumerate(value)]
    if system.strip():
        if turns and turns[0].role == SYSTEM:
            if turns[0].content.strip() != system.strip():
                raise InputError(f"{place}: begins with another text of the system than the field beside it.")
        else:
            turns.insert(0, Turn(SYSTEM, system))
    return tuple(turns)


def _read_turn(message: Any, *, place: str) -> Turn:
    if not isinstance(message, Mapping):
        raise InputError(f"{place} is {type(message).__name__} instead of a message, {MESSAGE_FORMS}.")
    keys = next((keys for keys in _KEYS if message.get(keys[0]) is not None), None)
    if keys is None:
        raise InputError(
            f"{place} has the keys {', '.join(map(str, message))}. A message is {MESSAGE_FORMS}."
        )
    role, content = (message.get(key) for key in keys)
    unused = [
        str(key)
        for key, value in message.items()
        if key not in keys and key not in _ABOUT_A_MESSAGE and list_texts(value)
    ]
    if unused:
        raise InputError(
            f"{place} has {', '.join(unused)} besides {keys[0]} and {keys[1]}. Calls of tools and thoughts "
            "kept apart are not supported: write them into the text, or remove them."
        )
    if role not in ROLES:
        raise InputError(f"{place}: {keys[0]} {role!r} is not known. Allowed: {', '.join(ROLES)}.")
    if message.get("weight") not in (None, 1):
        raise InputError(f"{place}: weight {message['weight']} is not supported, only 1. Remove the message.")
    return Turn(ROLES[role], _read_content(content, place=f"{place}: {keys[1]}"))


def _read_content(content: Any, *, place: str) -> str:
    """Return a message's text, also where it is given in parts."""
    if hasattr(content, "tolist"):
        content = content.tolist()
    if isinstance(content, str):
        return check_text(content, place=place)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        parts = []
        for part in content:
            text = part.get("text") if isinstance(part, Mapping) else part
            if not isinstance(text, str) or (
                isinstance(part, Mapping) and part.get("type", "text") != "text"
            ):
                raise InputError(
                    f"{place} has a part that is not text. Only texts can be learned: remove it."
                )
            parts.append(text)
        return check_text("".join(parts), place=place)
    fault = "is missing" if content is None else f"is {type(content).__name__} instead of text"
    raise InputError(f"{place} {fault}. Each message is {MESSAGE_FORMS}.")


def check_text(text: str, *, place: str) -> str:
    """Refuse halves of characters, which JSON can hold and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place} has half a character ({text[error.start]!a}, number {error.start + 1}), as text "
            "that was cut off inside an emoji has. Remove it."
        ) from error
    return text


def list_texts(value: Any) -> list[str]:
    """Return every text in a value that is not blank, however deep it lies."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in list_texts(inner)]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [text for inner in value for text in list_texts(inner)]
    return []
