"""The settings of the corpus of slices, read for the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.slice_corpus.bands import Band, find_parts, read_bands
from experiments.slice_corpus.collection import limit_space
from experiments.slice_corpus.features import locate_features
from rankadaptor.corpus import Corpus, Record
from rankadaptor.errors import CorpusError
from rankadaptor.features.slot_features import SlotFeatures
from rankadaptor.predictor.damage.trained import Evidence
from rankadaptor.space import Space


@dataclass(frozen=True, eq=False)
class Case:
    """One setting.

    Attributes:
        name: Its name.
        family: Settings of one family share a model.
        held_out: Whether the corpus holds it out.
        space: Its space, without limits.
        features: Its slot features.
        records: All its records, as bands number them.
        bands: Its bands by name.
    """

    name: str
    family: str
    held_out: bool
    space: Space
    features: SlotFeatures
    records: tuple[Record, ...]
    bands: Mapping[str, Band]

    @property
    def evidence(self) -> Evidence:
        """What it contributes to meta-training."""
        return Evidence(self.space, self.features, self.records)

    def limit(self, band: str) -> Space:
        """Return the space of a band."""
        return limit_space(self.space, self.bands[band])

    def pick(self, places: tuple[int, ...]) -> list[Record]:
        """Return records by their places."""
        return [self.records[place] for place in places]


def read_cases(root: Path) -> list[Case]:
    """Read all settings below a folder of corpora.

    Raises:
        CorpusError: If there is none.
    """
    parts = find_parts(root)
    if not parts:
        raise CorpusError(f"{root}: no settings. Collect some with `python -m experiments.slice_corpus`.")
    corpora = {folder: Corpus.load(folder) for folder in set(parts.values())}
    cases = []
    for name, folder in sorted(parts.items()):
        corpus = corpora[folder]
        features = SlotFeatures.load(locate_features(folder, name))
        features.check_space(corpus.space(name))
        cases.append(
            Case(
                name=name,
                family=folder.name,
                held_out=corpus.setting(name).held_out,
                space=corpus.space(name),
                features=features,
                records=tuple(corpus.records(name)),
                bands=read_bands(folder, name),
            )
        )
    return cases
