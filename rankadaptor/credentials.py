"""Credentials are masked wherever text is shown or written; this is the one place that knows them."""

from __future__ import annotations

import re

MASK = "***"
"""Stands for a password. SQLAlchemy and its messages write the same."""

_SECRET_KEYS = (
    r"password|passwd|passphrase|pwd|token|secret|signature|sig|api[_-]?key|access[_-]?key|odbc_connect"
)
_END = r"\s'\"<>"  # an address in a text ends before these
# What stands before the host. A password may hold a slash, which SQLAlchemy allows; after a server's colon
# figures and a slash are a port.
_USER_INFO = re.compile(
    rf"(?P<scheme>\b[a-z][a-z0-9+.-]*://)"
    rf"(?:(?P<plain>[^{_END}/?#]+)|(?P<slash>[^{_END}:/?#@]*:(?!\d+[/?#])[^{_END}@]*))@",
    re.IGNORECASE,
)
_QUERY = re.compile(
    rf"(?P<key>[?&;][\w.-]*?(?:{_SECRET_KEYS})=)(?P<value>[^{_END}&;#]+)",
    re.IGNORECASE,
)


def mask_credentials(text: str) -> str:
    """Replace passwords and tokens in the addresses that a text holds by `***`.

    `postgresql://me:secret@host/db?sslpassword=x` becomes `postgresql://me:***@host/db?sslpassword=***`. The
    user's name stays, except in `https://token@host`, where it may be the secret. Text without an address is
    returned as it is.
    """
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\g<key>{MASK}", _USER_INFO.sub(_mask_user, text))


def _mask_user(found: re.Match[str]) -> str:
    scheme, given = found["scheme"], found["plain"] or found["slash"]
    name, colon, _ = given.partition(":")
    if colon:
        return f"{scheme}{name}:{MASK}@"
    return f"{scheme}{MASK if scheme.lower().startswith('http') else name}@"
