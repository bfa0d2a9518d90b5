"""Predictors that have learned from a corpus, but never from the setting they are used on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.predictor import MetaPredictor, Predictor, make_predictor
from rankadaptor.predictor.storage import DESCRIPTION

if TYPE_CHECKING:
    from experiments.compare.prepared_setting import PreparedSetting
    from rankadaptor.corpus import Setting

logger = logging.getLogger(__name__)

FALLBACKS = {"meta": "ridge", "meta_perceptron": "perceptron"}


def find_corpus_digest(corpus: str | Path) -> str | None:
    """Return the digest of a corpus's records; None if there is no such folder."""
    from rankadaptor.corpus import Corpus

    return Corpus.load(corpus).digest if Path(corpus).is_dir() else None


def learn_without(prepared: PreparedSetting, corpus: str | Path, *, name: str) -> Predictor:
    """Train a predictor on a corpus's settings, held-out ones and those of the same pruned model left out.

    Settings of the same pruned model differ in text, length or budget alone, whatever they are called.

    It is kept in the setting's folder, so that a comparison that goes on later asks the same one, as long as
    the corpus is the same. Without another setting to learn from, one that needs no corpus takes its place.

    Args:
        prepared: The setting that it must not know.
        corpus: Folder of records.
        name: `meta`, the default, or `meta_perceptron`, the paper's five layers meta-trained.
    """
    from experiments.predictors.contestants import list_contestants
    from rankadaptor.corpus import Corpus
    from rankadaptor.predictor.evidence import MINIMUM_RECORDS, list_evidence

    digest = find_corpus_digest(corpus)
    kept = prepared.folder.path / f"predictor-{name}-{(digest or 'none')[:8]}"
    if (kept / DESCRIPTION).exists():
        return MetaPredictor.from_pretrained(kept)
    others = []
    if Path(corpus).is_dir():
        loaded = Corpus.load(corpus)
        others = [
            each
            for each in list_evidence(loaded)
            if not each.held_out
            and each.name != prepared.config.name
            and not is_same_model(loaded.setting(each.name), prepared)
            and len(each.observations) >= MINIMUM_RECORDS
        ]
    if not others:
        logger.warning("%s: no other setting to learn from; %s guides instead", corpus, FALLBACKS[name])
        return make_predictor(FALLBACKS[name], seed=prepared.seed)
    learned = list_contestants(seed=prepared.seed)[name](others)
    learned.save_pretrained(kept)  # type: ignore[attr-defined]  # both of these can be saved
    return MetaPredictor.from_pretrained(kept)


def is_same_model(setting: Setting, prepared: PreparedSetting) -> bool:
    """Tell whether a setting's pruned model is the prepared one, be it in another precision."""
    if setting.model.get("digest") == prepared.model_digest:
        return True
    same_cut = setting.pruning.get("settings", {}) == dict(prepared.pruned_as)
    return bool(setting.model.get("name") == prepared.config.get_written("model") and same_cut)
