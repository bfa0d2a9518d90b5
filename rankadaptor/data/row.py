"""One piece of training text: plain, with a prompt, or a chat."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
IGNORED = -100  # label of a token that is not learned; ignored by torch's cross entropy


@dataclass(frozen=True)
class Turn:
    """One message of a chat.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: Its text.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One piece of training text.

    Attributes:
        prompt: Text that is not learned; empty for plain text and chats.
        response: Text that is learned; empty for chats.
        turns: The messages of a chat, of which the assistant's are learned; empty for all other rows.
    """

    prompt: str
    response: str
    turns: tuple[Turn, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether this is plain text, learned whole."""
        return not self.prompt and not self.turns

    @property
    def is_chat(self) -> bool:
        """Whether this is a chat, written with the tokenizer's chat template."""
        return bool(self.turns)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn."""
        learned = [self.response, *(turn.content for turn in self.turns if turn.role == ASSISTANT)]
        return not any(text.strip() for text in learned)
