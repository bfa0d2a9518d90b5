"""Rows from tables in memory: columns by name, pandas, polars and Arrow tables, data sets of `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rankadaptor.errors import InputError


def looks_like_columns(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping holds columns: a list of values under every name."""
    return bool(value) and all(_is_column(column) for column in value.values())


def _is_column(value: Any) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or hasattr(value, "tolist")


def read_columns(columns: Mapping[Any, Any], *, label: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of columns.

    Raises:
        InputError: If their lengths differ.
    """
    lists = {str(name): list(column) for name, column in columns.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(
            f"{label}: columns of different lengths ({described}). If these are parts of a data set, "
            "give one of them."
        )
    for values in zip(*lists.values(), strict=True):
        yield dict(zip(lists, values, strict=True))


def iterate_memory(source: Any, *, label: str) -> Iterable[Any]:
    """Return the items of a source in memory.

    Args:
        source: A sequence or an iterator of rows, a mapping of columns, a table of pandas, polars or
            Arrow, or a data set of `datasets`.
        label: Its name in messages.

    Raises:
        InputError: If it is none of these, or holds several parts.
    """
    package = type(source).__module__.partition(".")[0]
    if package == "datasets" and isinstance(source, Mapping):
        parts = ", ".join(map(str, source))
        first = next(iter(source), "train")
        raise InputError(
            f"a {type(source).__name__} of the parts {parts}: give one of them, data[{first!r}]."
        )
    if package == "pandas" and hasattr(source, "to_dict"):
        return _iterate_frame(source)
    if package == "polars" and hasattr(source, "to_dicts"):
        source = source.to_dicts()
    if package == "pyarrow" and hasattr(source, "to_pylist"):
        source = source.to_pylist()
    if isinstance(source, Mapping):
        if not looks_like_columns(source):
            raise InputError(
                f"a dict with the keys {', '.join(map(str, source)) or 'none'}: for one row give a list, "
                "[row]; for columns give a list under every key."
            )
        return read_columns(source, label=label)
    if source is None or isinstance(source, bytes) or not hasattr(type(source), "__iter__"):
        if not isinstance(source, bytes) and hasattr(type(source), "__getitem__"):
            return (source[index] for index in range(len(source)))  # as data sets of torch
        given = "None" if source is None else f"a value of type {type(source).__name__}"
        raise InputError(
            f"{given} is not a source of rows. Give a path, kit:NAME, hub:NAME, a list of rows, a DataFrame "
            "or a Dataset."
        )
    items: Iterable[Any] = source
    return items


def _iterate_frame(frame: Any) -> Iterable[Any]:
    """Yield the rows of a pandas table as dicts, or the values of a series; missing values are None."""
    if not hasattr(frame, "columns"):
        return (None if value != value else value for value in frame)  # NaN differs from itself
    return read_columns(
        {name: [_clean(value) for value in frame[name]] for name in frame.columns}, label="a DataFrame"
    )


def _clean(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value
