"""Presets: run files of known methods, as YAML with comments that a user edits."""

from __future__ import annotations

import re
from importlib import resources

from rankadaptor.errors import InputError


def list_presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def write_preset(name: str, *, model: str | None = None, output: str | None = None) -> str:
    """Return a preset's run file, comments included.

    Args:
        name: Name of the preset.
        model: Value of `model` in place of the preset's.
        output: Value of `output` in place of the default.

    Raises:
        InputError: If there is no preset of that name.
    """
    if name not in list_presets():
        raise InputError(f"preset {name!r}: there are {', '.join(list_presets())}. Choose one of them.")
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text("utf-8")
    if model is not None:
        text = re.sub(r"(?m)^model: .*$", lambda _: f"model: {_quote(model)}", text)
    return text if output is None else f"{text}output: {_quote(output)}\n"


def _quote(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
