"""A setting: pruned model, data, recipe and space, within which records can be compared."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from rankadaptor.components.adapter import read_space
from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest
from rankadaptor.space import Space

SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
IDENTITY = ("model", "pruning", "data", "recipe", "space")


@dataclass(frozen=True)
class Setting:
    """The unit of meta-learning. Records of one setting differ only in allocation, seed and steps.

    Attributes:
        name: Also the name of its files: letters, digits, dot, dash, underscore.
        model: The model that was pruned.
        pruning: How it was pruned, with the outcome per block.
        data: Text for recovery and for evaluation.
        recipe: Recipe of the fine-tunes.
        space: `Space.to_json()`.
        held_out: Never used for training predictors.
        pruned_loss: Held-out loss after pruning, before recovery, in nats per token.
        dense_loss: Held-out loss of the model before pruning, in nats per token.
        command: Command that measures its records.
    """

    name: str
    model: dict[str, Any]
    pruning: dict[str, Any]
    data: dict[str, Any]
    recipe: dict[str, Any]
    space: dict[str, Any]
    held_out: bool = False
    pruned_loss: float | None = None
    dense_loss: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise InputError(
                f"setting name {self.name!r}: allowed are up to 80 letters, digits, dots, dashes and "
                "underscores, starting with a letter or digit, because it names files."
            )
        for field in IDENTITY:
            if not isinstance(getattr(self, field), dict):
                raise InputError(
                    f"{field} of setting {self.name!r} is {getattr(self, field)!r}; it must be a dict."
                )

    @property
    def digest(self) -> str:
        """Digest of its identity, without its name and what was measured in it."""
        return compute_digest({field: getattr(self, field) for field in IDENTITY})

    def build_space(self) -> Space:
        """Return its space.

        Raises:
            InputError: If the stored space is not valid.
        """
        return read_space(self.space)

    def find_differences(self, other: Setting) -> list[str]:
        """Return the parts of the identity in which two settings differ; spaces of any schema compare."""
        differing = [field for field in IDENTITY if getattr(self, field) != getattr(other, field)]
        if "space" in differing and self.build_space() == other.build_space():
            differing.remove("space")
        return differing

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict."""
        return {"schema": SCHEMA, "digest": self.digest, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Setting:
        """Rebuild a setting from `to_json`.

        Raises:
            InputError: If the schema, a field or the digest is wrong.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            schema = data.get("schema") if isinstance(data, dict) else None
            raise InputError(
                f"setting of schema {schema!r}, this version reads {SCHEMA}. Install the version of "
                "rankadaptor that wrote it."
            )
        fields = {key: value for key, value in data.items() if key not in ("schema", "digest")}
        known = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - set(known)):
            raise InputError(f"unknown fields {unknown}. Known are {', '.join(known)}; remove the others.")
        needed = [name for name, field in known.items() if field.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in fields]:
            raise InputError(f"fields {missing} are missing. Write the setting with Corpus.add_setting.")
        setting = cls(**fields)
        if data.get("digest") not in (None, setting.digest):
            raise InputError(
                f"setting {setting.name!r} has digest {data['digest']} written in it but its content gives "
                f"{setting.digest}: it was edited, and its records belong to what it was. Undo the edit, or "
                "give the changed setting a new name and measure again."
            )
        return setting
