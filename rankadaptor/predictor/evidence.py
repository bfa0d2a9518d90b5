"""The settings that a performance model is trained or evaluated on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest
from rankadaptor.predictor.observations import Observations, find_most_common_steps, gather_observations

if TYPE_CHECKING:
    from rankadaptor.corpus import Corpus, Record
    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

MINIMUM_RECORDS = 4
Source: TypeAlias = "Corpus | Sequence[tuple[Space, Sequence[Record]]]"


@dataclass(frozen=True, eq=False)
class Evidence:
    """One setting's records of one length.

    Attributes:
        name: Of the setting.
        space: Its space.
        records: Runs of one length, failed ones included.
        held_out: Whether predictors must not be trained on it.
        model: Name of the model that was pruned; settings with the same model are called siblings.
    """

    name: str
    space: Space
    records: tuple[Record, ...]
    held_out: bool = False
    model: str = ""

    @property
    def observations(self) -> Observations:
        """The records as arrays."""
        return gather_observations(self.space, self.records)


def list_evidence(source: Source, *, all_lengths: bool = False) -> list[Evidence]:
    """List the settings of a corpus, or of pairs of a space and its records.

    By default only the records of a setting's most common length are used, because runs of another length
    order allocations differently.

    Args:
        source: A corpus, or pairs.
        all_lengths: List the runs of each length as a separate setting.
    """
    if isinstance(source, Sequence):
        given = [
            (f"setting-{index + 1}", space, records, False, "")
            for index, (space, records) in enumerate(source)
        ]
    else:
        held_out = set(source.names(held_out=True))
        given = [
            (
                n,
                source.space(n),
                source.records(n),
                n in held_out,
                str(source.setting(n).model.get("name", "")),
            )
            for n in source.names()
        ]
    found: list[Evidence] = []
    for name, space, records, left_out, model in given:
        lengths = sorted({record.steps for record in records})
        usual = find_most_common_steps(records)
        chosen = lengths if all_lengths else [usual] if usual is not None else []
        for steps in chosen or [0]:
            part = tuple(record for record in records if record.steps == steps)
            label = f"{name} ({steps} steps)" if all_lengths and len(lengths) > 1 else name
            found.append(Evidence(label, space, part, left_out, model))
    return found


def choose_trainable(evidence: Sequence[Evidence]) -> tuple[list[Evidence], list[str]]:
    """Return the settings to train on, and the names of those that are held out or have too few records.

    Raises:
        InputError: If nothing is left.
    """
    left_out: list[str] = []
    chosen: list[Evidence] = []
    for each in evidence:
        count = len(each.observations)
        if each.held_out or count < MINIMUM_RECORDS:
            reason = "held out" if each.held_out else f"only {count} usable allocations"
            logger.info("meta-train: setting %s left out (%s)", each.name, reason)
            left_out.append(each.name)
            continue
        chosen.append(each)
    if not chosen:
        raise InputError(
            f"no setting has {MINIMUM_RECORDS} usable allocations to train on "
            f"(left out: {', '.join(left_out) or 'none'}). Measure more with `rankadaptor collect`."
        )
    return chosen, left_out


def compute_source_digest(source: Source) -> str:
    """Return the digest of the settings and records trained on."""
    if not isinstance(source, Sequence):
        return source.digest
    return compute_digest(
        [[space.digest, [[*r.values, repr(r.gain)] for r in records]] for space, records in source]
    )
