"""A run file with every key and a comment on each, for people to edit."""

from __future__ import annotations

import textwrap
from typing import Any

from pydantic import BaseModel

from rankadaptor.config.document import dump_value
from rankadaptor.config.faults import find_section
from rankadaptor.config.job import JobConfig

WIDTH = 100
HEADER = """\
# A rankadaptor run. Every key stands here with its default; keys you delete keep it.
#   rankadaptor plan FILE     steps, tokens, memory and hours, before anything is loaded
#   rankadaptor run FILE      does it, and continues where an interrupted run stopped
#   --set a.b=c               overrides a key from the command line
"""


def write_template(config: JobConfig) -> str:
    """Write a run as commented YAML that `load_run` reads to an equal run."""
    return HEADER + "\n" + "\n".join(_write_section(config, indent=0)) + "\n"


def _write_section(section: BaseModel, *, indent: int) -> list[str]:
    lines: list[str] = []
    margin = " " * indent
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        comment = textwrap.wrap(field.description or "", WIDTH - indent - 2)
        if isinstance(value, BaseModel):
            lines += ["", *(f"{margin}# {line}" for line in comment), f"{margin}{name}:"]
            lines += _write_section(value, indent=indent + 2)
        elif (
            len(comment) == 1
            and len(entry := f"{margin}{name}: {_write_value(value)}") + len(comment[0]) < WIDTH
        ):
            lines.append(f"{entry}  # {comment[0]}")
        else:
            lines += [*(f"{margin}# {line}" for line in comment), f"{margin}{name}: {_write_value(value)}"]
        if value is None and (inner := find_section(field.annotation)) is not None:
            lines += [f"{margin}#   {line}" for line in _sketch_section(inner)]
    return lines


def _sketch_section(section: type[BaseModel]) -> list[str]:
    """Describe the keys of a section that is off, one a line."""
    lines: list[str] = []
    for name, field in section.model_fields.items():
        if (inner := find_section(field.annotation)) is not None:
            lines += [f"{name}:", *(f"  {line}" for line in _sketch_section(inner))]
            continue
        value = "..." if field.is_required() else _write_value(field.get_default(call_default_factory=True))
        lines += textwrap.wrap(f"{name}: {value}  # {field.description or ''}", WIDTH, break_long_words=False)
    return lines


def _write_value(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = dump_value(plain, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...").strip()
