"""Log lines with time stamps on stderr; stdout is for results."""

from __future__ import annotations

import logging
import os

from rankadaptor.progress import StderrHandler


def start_logging(*, verbose: bool = False) -> None:
    """Send this package's messages to stderr: progress by default, everything with `verbose`.

    Other packages are shown from warnings upwards; their progress bars are switched off, since a run's log is
    often a file. Existing handlers of the calling program are kept.
    """
    from rankadaptor.runtime import find_commit

    find_commit()  # now, since another commit may be checked out before the first result is written
    root = logging.getLogger()
    if not any(isinstance(handler, StderrHandler) for handler in root.handlers):
        root.addHandler(StderrHandler())
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("rankadaptor").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
