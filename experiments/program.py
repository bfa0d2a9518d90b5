"""How a program here starts and ends: log lines on stderr, a user's fault in words with exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rankadaptor.cli.logs import start_logging
from rankadaptor.errors import RankAdaptorError

EXIT_USER = 2


def run_program(main: Callable[[], int | None]) -> None:
    """Run a program's `main` and exit with what it returns; 2 if the user can mend the fault."""
    start_logging()
    try:
        code = main()
    except RankAdaptorError as error:
        sys.stderr.write(f"error: {error}\n")
        code = EXIT_USER
    sys.exit(code or 0)
