"""The answer of a job: its result, or a fault and whether another attempt makes sense."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from rankadaptor import errors
from rankadaptor.errors import RankAdaptorError, StorageError


@dataclass(frozen=True)
class Fault:
    """Why a job has no result; text only, since it is sent between processes.

    Attributes:
        reason: One line for messages.
        lost: Whether the worker failed: killed, hung, out of memory, or ended by an unknown error. Such a job
            is tried again by another worker; one that raised an error of the package is not.
        error: Class name of the package's error that was raised, if it was one.
        trace: Traceback of an unknown error.
    """

    reason: str
    lost: bool = True
    error: str | None = None
    trace: str = ""


@dataclass(frozen=True)
class Answer:
    """The end of one job.

    Attributes:
        ticket: The number under which the job was submitted.
        value: What it returned.
        fault: Why it returned nothing, else None.
        seconds: How long it ran.
    """

    ticket: int
    value: Any = None
    fault: Fault | None = None
    seconds: float = 0.0


def call_safely(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Fault | None]:
    """Call a function in a worker; an error becomes a `Fault`, because many exceptions cannot be pickled."""
    try:
        return function(*arguments), None
    except RankAdaptorError as error:
        return None, Fault(str(error), lost=False, error=type(error).__name__)
    except Exception as error:
        if is_out_of_memory(error):
            return None, Fault(f"the worker ran out of memory ({_shorten(error)})")
        return None, Fault(f"{type(error).__name__}: {_shorten(error)}", trace=traceback.format_exc())


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that memory, of the machine or of its GPU, was used up."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def raise_fault(fault: Fault) -> NoReturn:
    """Raise the error of a job from another process.

    Raises:
        RankAdaptorError: The class that the job raised, with its text.
        RuntimeError: For an error unknown to the package, with the worker's traceback.
        StorageError: If the worker was lost.
    """
    if fault.error is not None:
        kind = getattr(errors, fault.error, StorageError)
        raise kind.__new__(kind, fault.reason)  # not its __init__: some need more than the text
    if fault.trace:
        raise RuntimeError(f"a worker failed with {fault.reason}\n{fault.trace}")
    raise StorageError(
        f"{fault.reason}. What was finished is kept: run the same command again, with fewer workers "
        "(--set compute.workers=1) if memory was short."
    )


def _shorten(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
