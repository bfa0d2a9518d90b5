"""Names given by the user, checked against those that exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rankadaptor.errors import InputError


def check_name(name: str, allowed: Iterable[str], *, what: str, remedy: str = "") -> None:
    """Check that `name` is one of `allowed`.

    Raises:
        InputError: If it is not; the message lists what is allowed and the nearest name.
    """
    names = list(allowed)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    advice = f" {remedy}" if remedy else ""
    raise InputError(f"{name!r} is not {what} of the kit.{hint} Allowed: {', '.join(names)}.{advice}")
