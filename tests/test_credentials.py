"""Passwords and tokens in addresses, wherever in a text they stand."""

from __future__ import annotations

import logging
import pickle

import pytest

from rankadaptor.cli.logs import start_logging
from rankadaptor.credentials import mask_credentials
from rankadaptor.errors import ConfigError, StorageError


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://user:SECRET@host:5099/a", "http://user:***@host:5099/a"),
        ("https://SECRET@host/x", "https://***@host/x"),
        ("'http://u:SECRET@h' and postgresql://a:SECRET@b.", "'http://u:***@h' and postgresql://a:***@b."),
        ("postgresql://u:SEC/RET@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:SEC@RET@h/db", "postgresql://u:***@h/db"),
        ("mysql+pymysql://u:1@h/d?ssl_password=SECRET&a=b", "mysql+pymysql://u:***@h/d?ssl_password=***&a=b"),
        ("https://h/x?token=SECRET&y=1", "https://h/x?token=***&y=1"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3DSECRET", "mssql+pyodbc:///?odbc_connect=***"),
        *(
            (text, text)
            for text in (
                "postgresql://me@host/db",
                "see http://host:5000/a@b and http://host:5000/#/x?u=a@b",
                "sqlite:////srv/a@b.db",
                "C:\\a and a@b.org",
            )
        ),
    ],
)
def test_secrets_are_masked_and_nothing_else(given, shown):
    assert mask_credentials(given) == shown
    assert mask_credentials(shown) == shown


def test_errors_and_log_lines_mask_them(capsys):
    address = "http://user:SECRET@host"
    error = StorageError(f"{address}: does not answer.")
    assert str(error) == "http://user:***@host: does not answer."
    assert "SECRET" not in repr(pickle.loads(pickle.dumps(error)))
    assert "SECRET" not in str(ConfigError(address, [f"given {address!r}"]))
    start_logging()
    try:
        raise ValueError(address)
    except ValueError:
        logging.getLogger("another").exception("%s", address)
    shown = capsys.readouterr().err
    assert "user:***@host" in shown
    assert "SECRET" not in shown
