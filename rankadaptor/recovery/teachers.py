"""Teachers as callers name them: a model, what `load` returned, or a name or folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.named_models import load

if TYPE_CHECKING:
    from rankadaptor.runtime import Compute


def find_teacher(teacher: Any, tokenizer: Any, *, compute: Compute) -> Any:
    """Return a teacher as a model, or None where none is given.

    Args:
        teacher: A causal language model, a pair of a model and its tokenizer, a name or folder that `load`
            reads, or None.
        tokenizer: Tokenizer of the model that is trained.
        compute: Device and precision of a teacher that is loaded here. It is not quantised.

    Raises:
        InputError: If the teacher's tokenizer is known and another one.
        CheckpointError: If a name or folder cannot be loaded.
    """
    if isinstance(teacher, str | Path):
        teacher = load(teacher, compute=dataclasses.replace(compute, quantise=None))
    if isinstance(teacher, tuple):
        teacher, own = teacher
        check_tokenizers(own, tokenizer)
    return teacher


def check_tokenizers(teacher: Any, student: Any) -> None:
    """Check that two tokenizers give every text the same ids.

    Raises:
        InputError: If their vocabularies differ.
    """
    theirs, mine = teacher.get_vocab(), student.get_vocab()
    differing = sorted(token for token in theirs.keys() | mine.keys() if theirs.get(token) != mine.get(token))
    if differing:
        token = differing[0]
        raise InputError(
            f"The teacher has another tokenizer: {len(theirs)} tokens against {len(mine)}, {len(differing)} "
            f"of them differ, for example {token!r}, which is {theirs.get(token)} there and "
            f"{mine.get(token)} here. Teacher and model must read the same ids: give a teacher with the "
            "model's tokenizer, as a rule the model before pruning."
        )
