"""Errors whose text says what was given, what is allowed, and what to do next.

Every error here is the user's to act on: the command line prints it without a traceback and exits with
code 2. Anything else that escapes is a defect of the toolkit and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

from rankadaptor.credentials import mask_credentials


class RankAdaptorError(Exception):
    """Base of all errors that a user can act on; passwords in the addresses that it names are masked."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask_credentials(each) if isinstance(each, str) else each for each in arguments))


class InputError(RankAdaptorError, ValueError):
    """An argument, a configuration key or a data file is not usable as given."""


class ConfigError(InputError):
    """A run file has faults; all of them are listed at once.

    Attributes:
        faults: One line per fault, each naming the key.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.faults = tuple(mask_credentials(fault) for fault in faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        super().__init__(f"{source}: {count}.\n" + "\n".join(f"  {fault}" for fault in self.faults))


class BudgetError(InputError):
    """No allocation, or not this one, fits the space and its budget."""


class CheckpointError(InputError):
    """A folder of weights is missing, broken, or does not belong to this model."""


class CorpusError(InputError):
    """A corpus of records cannot be read; the message names file and line."""


class NonFiniteError(InputError):
    """A weight, a score or a loss is NaN or infinite; the message names where it shows first."""


class StorageError(RankAdaptorError, OSError):
    """A file could not be written or fetched; what was complete before is untouched."""


class EngineError(RankAdaptorError, RuntimeError):
    """The engine refused a file, or ended while it ran one; the message has its last words."""


class TrainingError(RankAdaptorError, ArithmeticError):
    """A fine-tune broke down, for example because its loss became NaN.

    Attributes:
        step: The optimiser step at which it happened, counted from 1.
        tokens: Tokens trained on until then, as far as is known.
    """

    tokens: int = 0

    def __init__(self, message: str, *, step: int) -> None:
        self.step = step
        super().__init__(message)
