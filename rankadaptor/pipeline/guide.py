"""The predictor of a run's search, and its copy in the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankadaptor.config.stages import TRAINED
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.predictor import MetaPredictor, Predictor, make_predictor
from rankadaptor.predictor.storage import DESCRIPTION

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.pipeline.run_folder import RunFolder

UNTAUGHT = "untaught.json"
"""File of earlier versions that names the predictor used where no trained one was found."""


def choose_predictor(config: RunConfig, folder: RunFolder) -> Predictor:
    """Make the run's predictor; a trained one is that of the package, or of `search.predictor_path`.

    A trained predictor is copied into the run's folder and read from there when the run continues: with a
    predictor that was trained again meanwhile, the replayed search would propose other allocations.

    Raises:
        CheckpointError: If the folder holds no readable predictor.
    """
    given, kept = config.search, folder.path / "predictor"
    if given.predictor not in TRAINED:
        return make_predictor(given.predictor, seed=config.seed)
    if (kept / UNTAUGHT).exists():
        noted = read_object(
            kept / UNTAUGHT,
            keys=("predictor",),
            what="the name of the predictor that this search began with",
            cost="the search is replayed with the trained predictor, and may ask for other allocations",
        )
        return make_predictor(noted["predictor"], seed=config.seed)
    if not (kept / DESCRIPTION).exists():
        MetaPredictor.from_pretrained(given.predictor_path).save_pretrained(kept)
    return make_predictor(given.predictor, pretrained=kept, seed=config.seed)
