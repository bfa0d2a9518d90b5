"""A configuration as a model and a file: extracted, recovered, quantised once, scored."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.components.precision.fixed_scales import is_quick_to_train
from rankadaptor.errors import NonFiniteError, TrainingError
from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss
from rankadaptor.methods import FIXED
from rankadaptor.pipeline.compression.recovering import Recovered, recover_merged
from rankadaptor.pipeline.compression.rounding import round_weights
from rankadaptor.pipeline.compression.run_recipe import find_run_teacher, make_run_recipe
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.text_jobs.texts import CALIBRATION, SEARCH, TRAINING
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be recovered and written.

    Attributes:
        name: What tables call it.
        kind: `ours`, `sequential`, `baseline` or `stock`.
        choices: Its choices in the run's space; None for the dense model in stock types.
        types: Type of each matrix by module name, where `choices` is None.
        importance: Weights of the columns of each matrix in the errors of quantisation, by module name.
    """

    name: str
    kind: str
    choices: tuple[int, ...] | None = None
    types: Mapping[str, str] | None = None
    importance: Mapping[str, Any] | None = field(default=None, repr=False)

    def extract(self, setting: Setting) -> tuple[Any, Mapping[str, str]]:
        """Return a model of its own, in float32, and the type of each matrix."""
        if self.choices is None:
            return copy.deepcopy(setting.model), self.types or {}
        model, types = setting.live.extract(Allocation(self.choices, setting.space))
        return model, types


def recover_candidate(
    setting: Setting,
    model: Any,
    types: Mapping[str, str],
    *,
    steps: int,
    rate: float,
    checkpoint: Path | None = None,
    ranks: Sequence[int] | None = None,
    recipe: Recipe | None = None,
) -> Recovered:
    """Recover an extracted model, to be stored in these types, as the run asks; see `recover_merged`.

    Without a recipe it is the one that the run chose, at this rate.
    """
    recipe = recipe or make_run_recipe(setting, steps=steps, rate=rate)
    return recover_merged(
        model,
        recipe,
        sequences=setting.texts[TRAINING],
        steps=steps,
        seed=setting.config.seed,
        compute=setting.compute,
        checkpoint=checkpoint,
        ranks=ranks,
        types=choose_trained_types(setting, types),
        scales=setting.config.recover.scales if setting.config.recover is not None else FIXED,
        teacher=find_run_teacher(setting, recipe),
    )


def choose_trained_types(setting: Setting, types: Mapping[str, str]) -> dict[str, str]:
    """Return the types that a recovery trains through; none where the run trains float weights.

    Types whose rounding would take several times as long as the training are left out: K types and MXFP4, and
    with derived scales IQ4_NL. Their matrices are trained unrounded and rounded once at the end.
    """
    given = setting.config.recover
    if given is None or not given.goes_through_rounding:
        return {}
    return {name: kind for name, kind in types.items() if is_quick_to_train(kind, scales=given.scales)}


def measure_rounded(
    setting: Setting,
    model: Any,
    types: Mapping[str, str],
    *,
    parts: Sequence[str],
    importance: Mapping[str, Any] | None = None,
    in_place: bool = True,
) -> dict[str, HeldOutLoss]:
    """Measure a model, with its weights as they come back from their types, on parts of the text."""
    rounded = round_weights(model, types, importance=importance, in_place=in_place)
    return {part: measure_loss(rounded, setting.texts[part], compute=setting.compute) for part in parts}


def measure_choice(setting: Setting, model: Any, types: Mapping[str, str], *, in_place: bool = True) -> float:
    """Return the loss of a model, its weights rounded, on text that neither trains nor judges."""
    losses = measure_rounded(setting, model, types, parts=(SEARCH, CALIBRATION), in_place=in_place)
    total = sum(each.mean * each.tokens for each in losses.values())
    return total / sum(each.tokens for each in losses.values())


def try_candidate(
    setting: Setting,
    candidate: Candidate,
    *,
    steps: int,
    rate: float,
    checkpoint: Path | None = None,
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Recover a candidate shortly and measure it; see `measure_choice`.

    Returns:
        `loss` (nats per token; None if the recovery diverged), `tokens`, `seconds`, `error`.
    """
    model, types = candidate.extract(setting)
    try:
        recovered = recover_candidate(
            setting, model, types, steps=steps, rate=rate, checkpoint=checkpoint, recipe=recipe
        )
        loss = measure_choice(setting, recovered.model, types)
    except (TrainingError, NonFiniteError) as error:
        logger.warning("%s: rate %g: %s", candidate.name, rate, error)
        return {"loss": None, "tokens": getattr(error, "tokens", 0), "seconds": 0.0, "error": str(error)}
    logger.info("%s: loss %.4f after %d steps at rate %g", candidate.name, loss, steps, rate)
    return {"loss": loss, "tokens": recovered.tokens, "seconds": recovered.seconds, "error": None}
