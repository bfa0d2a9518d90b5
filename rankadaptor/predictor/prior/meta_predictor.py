"""The default performance model: what a corpus's settings share, conditioned in closed form on the search."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Prediction
from rankadaptor.predictor.prior.conditioning import condition
from rankadaptor.predictor.prior.hierarchy import Hierarchy
from rankadaptor.predictor.prior.slot_posterior import SlotPosterior

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor.networks.meta_network import MetaNetwork
    from rankadaptor.space import Space


@dataclass(frozen=True)
class MetaPredictor:
    """Offline meta-learning and online learning in one model that reads a space as a set of slots.

    The gain is a sum over slots of concave responses to rank, weighted by what a slot is: types and depth of
    its linears, what pruning took, cost, budget. `meta_train` learns from a corpus how these weights are
    distributed over settings ([EmpiricalBayes]_, `hierarchy`); that is the belief before the first record of
    a search. Each `update` conditions it on all records at once (`conditioning`), which for a linear model
    with normal laws is exact, so nothing is forgotten and nothing depends on the order of the records.

    Attributes:
        hierarchy: The prior.
        seed: Draws for Thompson sampling.
        card: Facts of the training, for people: settings, records, corpus digest, benchmark.
    """

    hierarchy: Hierarchy = dataclasses.field(repr=False)
    seed: int = 0
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    seen: tuple[Space, SlotPosterior] | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="meta", init=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    @staticmethod
    def default() -> MetaPredictor | MetaNetwork:
        """Read the predictor that comes with the package; see `from_pretrained`."""
        return MetaPredictor.from_pretrained()

    @staticmethod
    def from_pretrained(folder: str | Path | None = None) -> MetaPredictor | MetaNetwork:
        """Read what `save_pretrained` wrote, of this model or of a meta-trained network.

        Args:
            folder: Where it lies; None takes the trained predictor that comes with the package.

        Raises:
            CheckpointError: If the folder or a file is missing, cut short, or of another schema.
        """
        from rankadaptor.predictor.storage import read_predictor, read_shipped

        return read_shipped() if folder is None else read_predictor(Path(folder).expanduser())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior (safetensors) and all else (JSON), without what a search taught it, into a folder.

        Raises:
            StorageError: If the folder cannot be written.
        """
        from rankadaptor.predictor.storage import write_predictor

        write_predictor(self, Path(folder).expanduser())

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        if self.seen is not None and self.seen[0] == space:
            posterior = self.seen[1]
        else:
            posterior = _believe(self.hierarchy, space)
        return posterior.predict(array, seed=self.seed)

    def update(self, space: Space, records: Sequence[Record]) -> MetaPredictor:
        """Condition the prior on all records; see `Predictor`.

        Raises:
            InputError: If a record does not belong to the space.
        """
        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, seen=None)
        return dataclasses.replace(self, seen=(space, condition(self.hierarchy, space, observations)))


@functools.lru_cache(maxsize=8)
def _believe(hierarchy: Hierarchy, space: Space) -> SlotPosterior:
    """Return the belief before the first record; a search asks for it many times."""
    return condition(hierarchy, space, None)
