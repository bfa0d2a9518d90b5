"""The default performance model: a hierarchical Gaussian prior, conditioned in closed form on the records."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.features import list_linear_features
from rankadaptor.predictor import storage
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Prediction
from rankadaptor.predictor.prior.conditioning import condition
from rankadaptor.predictor.prior.hierarchy import Hierarchy
from rankadaptor.predictor.prior.layout import list_families
from rankadaptor.predictor.prior.slot_posterior import SlotPosterior

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor.networks.meta_network import MetaNetwork
    from rankadaptor.space import Space

KIND = "rankadaptor.MetaPredictor"
"""Names this model in `predictor.json`."""


@dataclass(frozen=True)
class MetaPredictor:
    """The default performance model: meta-learned offline, updated online.

    The gain is a sum over slots of concave basis functions of the rank, with weights that depend on the slot:
    types and depth of its linears, pruned share, cost, budget. `meta_train` learns the distribution of these
    weights over the settings of a corpus ([EmpiricalBayes]_, `hierarchy`); this is the prior before the first
    record of a search. Each `update` conditions it on all records at once (`conditioning`), which is exact
    for a linear Gaussian model and independent of the order of the records.

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
        """Read a predictor that `save_pretrained` wrote, of this model or a meta-trained network.

        Args:
            folder: Its folder; None reads the trained predictor that comes with the package.

        Raises:
            CheckpointError: If the folder or a file is missing, cut short, or of another schema.
        """
        if folder is None:
            return storage.read_shipped(_build_predictor)
        return storage.read_predictor(Path(folder).expanduser(), _build_predictor)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior (safetensors) and its description (JSON); records of a search are not saved.

        Raises:
            StorageError: If the folder cannot be written.
        """
        prior = self.hierarchy
        description = {
            "kind": KIND,
            "linear_features": list(list_linear_features()),
            "families": list(list_families()),
            "size": list(prior.size),
            "noise": list(prior.noise),
            "luck": prior.reference_noise,
            "width": prior.width,
            "seed": self.seed,
        }
        arrays = {"mean": prior.mean, "covariance": prior.covariance, "own": prior.own}
        storage.write_predictor(Path(folder).expanduser(), arrays, description=description, card=self.card)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        if self.seen is not None and self.seen[0] == space:
            posterior = self.seen[1]
        else:
            posterior = _condition_without_records(self.hierarchy, space)
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
def _condition_without_records(hierarchy: Hierarchy, space: Space) -> SlotPosterior:
    """Return the prior over gains; cached, because a search needs it many times."""
    return condition(hierarchy, space, None)


def _build_predictor(description: dict[str, Any], arrays: storage.Arrays) -> MetaPredictor | MetaNetwork:
    """Rebuild a predictor of either kind from its files.

    Raises:
        ValueError: If it was trained on other features than those of this version.
    """
    if description["kind"] != KIND or description["schema"] == storage.FIRST_SCHEMA:
        from rankadaptor.predictor.networks.meta_network import MetaNetwork

        return MetaNetwork.from_description(description, arrays)
    # Earlier versions wrote other words for the same features.
    features = description.get("linear_features", description.get("strengths"))
    families = [name.replace("free.", "uncounted.") for name in description["families"]]
    if (features, families) != (list(list_linear_features()), list(list_families())):
        raise ValueError("it describes slots by other features than this version")
    hierarchy = Hierarchy(
        mean=arrays["mean"],
        covariance=arrays["covariance"],
        own=arrays["own"],
        size=(float(description["size"][0]), float(description["size"][1])),
        noise=(float(description["noise"][0]), float(description["noise"][1])),
        reference_noise=float(description["luck"]),
        width=float(description.get("width", 1.0)),  # earlier versions wrote none
    )
    return MetaPredictor(hierarchy=hierarchy, seed=int(description["seed"]), card=description["card"])
