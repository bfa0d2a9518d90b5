"""YAML text as plain values, with the line of every key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rankadaptor.errors import ConfigError, InputError
from rankadaptor.files import read_text

LARGEST = 20_000
"""Values in a document, aliases written out; a run file with every key has about a hundred."""
LONGEST = 1_000_000  # bytes
TOO_DEEP = "is nested too deeply to be read. A run file has sections, and values in them."


@dataclass(frozen=True)
class Document:
    """A parsed run file.

    Attributes:
        values: The mapping it holds.
        places: For each dotted key its place, for example `line 12` or `--set`.
    """

    values: dict[str, Any]
    places: dict[str, str]


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads numbers as in YAML 1.2.

    `1e-3` is a number, `010` is ten and not eight, and `1:30` is text and not ninety.
    """


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which `_Loader` would read as a number."""


_FLOAT, _INTEGER = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"
_START = "-+.0123456789"
_NUMBERS = {
    _FLOAT: re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    _INTEGER: re.compile(r"^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$"),
}
_Loader.yaml_implicit_resolvers = {
    start: [each for each in resolvers if each[0] not in _NUMBERS]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    for _tag, _pattern in _NUMBERS.items():
        _kind.add_implicit_resolver(_tag, _pattern, list(_START))


def _construct_integer(_loader: _Loader, node: yaml.ScalarNode) -> int:
    digits = str(node.value).replace("_", "")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits.lstrip("-+")[:2], 10)
    try:
        return int(digits, base)
    except ValueError as error:  # Python reads at most 4300 digits
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of {len(digits)} digits is too long", node.start_mark
        ) from error


_Loader.add_constructor(_INTEGER, _construct_integer)


def dump_value(value: Any, **options: Any) -> str:
    """Write a value as YAML that is read back as the same value; `options` are those of `yaml.dump`."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options)
    return text


def read_document(path: Path, *, remedy: str | None = None) -> Document:
    """Read a YAML file of this package, by default a run file.

    Args:
        path: The file.
        remedy: What to do if it is missing; by default, how to write a run file.

    Raises:
        ConfigError: If it is missing, not YAML (the line is named), or not a mapping of keys to values.
    """
    path = path.expanduser()
    try:
        if path.stat().st_size > LONGEST:
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            raise ConfigError(str(path), [f"has {size}: not a run file. Give the path of a YAML file."])
        text = read_text(path)
    except InputError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(str(path), [f"{error} Give the path of a YAML file."]) from error
    except FileNotFoundError as error:
        remedy = remedy or f"Write one with `rankadaptor init {path}`, or check the path."
        raise ConfigError(str(path), [f"no such file. {remedy}"]) from error
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read ({error}). Give the path of a YAML file."]) from error
    return parse_document(text, source=str(path))


def parse_document(text: str, *, source: str) -> Document:
    """Parse YAML text; `source` names it in errors. See `read_document`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError as error:
        raise ConfigError(source, [TOO_DEEP]) from error
    except yaml.YAMLError as error:
        raise ConfigError(source, [_describe_syntax(error)]) from error
    if node is None:
        return Document({}, {})
    _refuse_multiplied(node, source=source)
    places: dict[str, str] = {}
    faults: list[str] = []
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        _locate(node, "", places, faults)
    else:
        faults.append(
            "line 1: must be keys with values, as in `seed: 0`. `rankadaptor init` writes an example."
        )
    if faults:
        raise ConfigError(source, faults)
    try:
        values: dict[str, Any] = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ConfigError(source, [TOO_DEEP]) from error
    except yaml.YAMLError as error:
        raise ConfigError(source, [_describe_syntax(error)]) from error
    return Document(values, places)


def parse_value(text: str, *, source: str) -> Any:
    """Parse one YAML value, such as the right-hand side of `--set`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _refuse_multiplied(node, source=source)
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ConfigError(source, [TOO_DEEP]) from error
    except yaml.YAMLError as error:
        raise ConfigError(source, [f"given {text!r}; {_describe_syntax(error)}"]) from error


def _refuse_multiplied(node: yaml.Node, *, source: str) -> None:
    """Refuse aliases that make a document far larger than its text, or endless.

    Raises:
        ConfigError: If there are more values than any file of this package needs, or a value holds itself.
    """
    sizes: dict[int, int] = {}
    unfinished: set[int] = set()

    def count(inner: yaml.Node) -> int:
        if id(inner) in unfinished:
            line = inner.start_mark.line + 1
            raise ConfigError(
                source, [f"line {line}: this value holds itself by an alias (*). Write it out."]
            )
        if id(inner) not in sizes:
            unfinished.add(id(inner))
            parts: list[yaml.Node] = []
            if isinstance(inner, yaml.MappingNode):
                parts = [part for pair in inner.value for part in pair]
            elif isinstance(inner, yaml.SequenceNode):
                parts = inner.value
            sizes[id(inner)] = 1 + sum(count(part) for part in parts)
            unfinished.discard(id(inner))
        return sizes[id(inner)]

    total = count(node)
    if total > LARGEST:
        raise ConfigError(
            source,
            [
                f"holds {total} values once its aliases (*name) are written out; at most {LARGEST} are "
                "allowed. Write the values themselves, without aliases that repeat each other."
            ],
        )


def _locate(node: yaml.MappingNode, prefix: str, places: dict[str, str], faults: list[str]) -> None:
    """Note the line of each key, and duplicate keys, of which YAML would silently take the last."""
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith((":timestamp", ":binary")):
            faults.append(f"line {key.start_mark.line + 1}: this key is no name. Write keys as in `seed: 0`.")
            continue
        path = f"{prefix}{key.value}"
        line = key.start_mark.line + 1
        if path in places:
            faults.append(f"line {line}: {path}: given again, first on {places[path]}. Keep one of them.")
        places[path] = f"line {line}"
        if isinstance(value, yaml.MappingNode):
            _locate(value, f"{path}.", places, faults)


def _describe_syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return f"not valid YAML ({problem}). Check indentation, colons and brackets."
    return (
        f"line {mark.line + 1}, column {mark.column + 1}: not valid YAML ({problem}). "
        "Check indentation, colons and brackets there and on the line before."
    )
