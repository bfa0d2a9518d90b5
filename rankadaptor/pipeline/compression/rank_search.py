"""The rank search of the paper ([RankAdaptor]_) on the chosen configuration, before its full recovery.

Short fine-tunes, guided by the performance model that comes with the package, look for ranks of the same
adapter size as one rank everywhere. Fresh seeds decide whether they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from rankadaptor.corpus import Record, RecordFile
from rankadaptor.defaults import CONFIRMATION
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.pipeline.compression.candidates import Candidate, find_run_teacher, make_run_recipe
from rankadaptor.pipeline.compression.recovering import build_rank_space
from rankadaptor.pipeline.compression.setting import RECORDS_FILE, Setting
from rankadaptor.pipeline.compression.texts import CALIBRATION, SEARCH, TRAINING
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.storage import SHIPPED
from rankadaptor.search import Search
from rankadaptor.verdict import confirm

logger = logging.getLogger(__name__)

SEARCHED = "searched"
FOLDER = "ranks"
PREDICTOR = "meta"


def search_ranks(
    setting: Setting,
    candidate: Candidate,
    *,
    rate: float | None,
    follow: Callable[[Sequence[Record]], None],
) -> dict[str, Any]:
    """Search the ranks of a configuration's recovery and compare the best with uniform ranks of its size.

    Every fine-tune has the length of a finalist's and trains the float weights. It is scored on text that it
    was not trained on and that judges nothing.

    Args:
        setting: The run's inputs.
        candidate: The configuration that will be recovered.
        rate: Learning rate.
        follow: Called with the new records of the search.

    Returns:
        `verdict` (against uniform), `slots` and `searched` (the best ranks by slot), `uniform` (the rank that
        it is compared with), `ranks` (those to recover with; None means uniform), `history`, `tokens`.
    """
    given = setting.config.recover
    assert given is not None
    assert rate is not None
    model, _ = candidate.extract(setting)
    steps, texts, seed = given.finalist_steps, setting.texts, setting.config.seed
    measure = ShortFineTune.of_sequences(
        model,
        texts[TRAINING],
        held_out=(*texts[SEARCH], *texts[CALIBRATION]),
        recipe=make_run_recipe(setting, steps=steps, rate=rate),
        steps=steps,
        seed=seed,
        records=RecordFile(setting.folder.path / FOLDER / RECORDS_FILE),
        compute=setting.compute,
        teacher=find_run_teacher(setting),
    )
    space = build_rank_space(model, rank=given.rank)
    guided = Search(space, make_predictor(PREDICTOR, pretrained=SHIPPED, seed=seed), seed=seed)
    found = guided.run(measure, evaluations=given.rank_evaluations, on_record=lambda record: follow([record]))
    verdict = confirm(
        measure,
        found.best,
        seeds=given.rank_seeds,
        first_seed=seed + CONFIRMATION.first_seed,
        searched=found.records,
    )
    logger.info("ranks: %s", verdict)
    assert measure.records is not None
    return {
        "verdict": verdict.to_json(),
        "slots": [slot.name for slot in space.slots],
        "searched": list(found.best.values),
        "uniform": given.rank,
        "ranks": list(verdict.allocation.values) if verdict.outcome == "better" else None,
        "history": [{"gain": record.gain, "status": record.status} for record in found.records],
        "tokens": sum(record.tokens for record in measure.records.records),
    }
