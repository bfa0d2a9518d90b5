"""The inputs of trainings: the texts, the dense model, and the pruned models, each made once and kept."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
from typing import Any

from experiments.recovery.config import Study
from experiments.recovery.records import Records
from experiments.recovery.training import UNIFORM, name_structure
from rankadaptor.data import TokenSequence, load_rows, tokenise_rows
from rankadaptor.data.text_sets import (
    CALIBRATION,
    JUDGING,
    OTHER,
    SEARCH,
    TRAINING,
    TextSets,
    build_text_sets,
)
from rankadaptor.data.windows import digest_document
from rankadaptor.defaults import COMPRESSION
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import lock_folder
from rankadaptor.model import digest_model
from rankadaptor.model.families import describe_blocks
from rankadaptor.model.saving import save_pruned
from rankadaptor.named_models import load
from rankadaptor.pipeline.compression.exploration import search, sweep
from rankadaptor.pipeline.compression.preparation import prepare
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.text_jobs.setting import pick_compute
from rankadaptor.pipeline.text_jobs.texts import Texts
from rankadaptor.pruning import prune
from rankadaptor.recovery.llm_pruner import CUT_LENGTH, PRUNING
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

DENSE = "dense"
ALIGN = 32
"""Multiple of all MLP widths, which the types that models are recovered for need."""
JUDGED = (SEARCH, JUDGING, OTHER)
"""Texts that every model is measured on; the first chooses rates, the others judge."""


class Inputs:
    """Texts and models of one study, loaded when they are first needed.

    Args:
        study: The study.
        records: Where what is known of the models is kept.
    """

    def __init__(self, study: Study, records: Records) -> None:
        self.study, self.records = study, records
        self.compute: Compute = pick_compute(study.build_search())

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load(self.study.model, compute=dataclasses.replace(self.compute, dtype="float32"))

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of all models."""
        return self._loaded[1]

    @functools.cached_property
    def sets(self) -> TextSets:
        """The texts, disjoint by document."""
        study = self.study
        return build_text_sets(
            self.tokenizer,
            sources=study.text,
            other=study.other,
            length=study.length,
            tokens={
                CALIBRATION: COMPRESSION.importance_rows * study.length,
                TRAINING: study.training_tokens,
                SEARCH: study.search_sequences * study.length,
                JUDGING: study.judge_sequences * study.length,
                OTHER: study.judge_sequences * study.length,
            },
            model=self._loaded[0],
        )

    @functools.cached_property
    def texts(self) -> dict[str, tuple[TokenSequence, ...]]:
        """The windows of each text."""
        sets = self.sets
        assert sets.other is not None
        return {
            CALIBRATION: sets.calibration.sequences,
            SEARCH: sets.search.sequences,
            TRAINING: sets.training.sequences,
            JUDGING: sets.judging.sequences,
            OTHER: sets.other.sequences,
        }

    @functools.cached_property
    def instructions(self) -> list[TokenSequence]:
        """Instruction rows whose documents chose and judge nothing."""
        sets = self.sets
        taken = {
            digest_document(row)
            for each in (sets.calibration, sets.search, sets.judging)
            for row in each.rows
        }
        rows = [row for row in load_rows(self.study.instructions) if digest_document(row) not in taken]
        return tokenise_rows(rows, self.tokenizer, max_length=CUT_LENGTH, source=self.study.instructions)

    def measure(self, model: Any) -> dict[str, float]:
        """Return a model's loss on each text, in nats per token."""
        return {part: measure_loss(model, self.texts[part], compute=self.compute).mean for part in JUDGED}

    def load_dense(self) -> Any:
        """Return the dense model in float32, measured once."""
        model = self._loaded[0]
        if DENSE not in self.records.read_models():
            self._describe(DENSE, model)
        return model

    def load_structure(self, widths: str, ratio: float) -> Any:
        """Return a pruned model in float32, made and measured when it is first asked for."""
        name = name_structure(widths, ratio)
        folder = self.study.folder / "models" / name
        with lock_folder(folder.parent):
            if not (folder / "config.json").exists():
                self.load_dense()
                model = self._prune(ratio) if widths == UNIFORM else self._search(ratio)
                save_pruned(model, self.tokenizer, folder)
        model, _ = load(folder, compute=dataclasses.replace(self.compute, dtype="float32"))
        known = self.records.read_models().get(name)
        if known is None:
            self._describe(name, model)
        elif known["digest"] != digest_model(model):
            logger.warning("%s is not the model of earlier records: remove it, or the records", folder)
        return model

    def _describe(self, name: str, model: Any) -> None:
        losses = self.measure(model)
        logger.info("%s: %d parameters, losses %s", name, model.num_parameters(), losses)
        self.records.keep_model(
            name,
            {
                "parameters": model.num_parameters(),
                "digest": digest_model(model),
                "losses": losses,
                "precision": self.compute.dtype,
            },
        )

    def _prune(self, ratio: float) -> Any:
        """Prune as LLM-Pruner does: the blocks between the first and the last few lose the share for all."""
        model = self._loaded[0]
        first, last = self.study.skip
        blocks = len(describe_blocks(model))
        return prune(
            model,
            self.tokenizer,
            ratio=ratio * blocks / (blocks - first - last),
            calibration=[*self.sets.calibration.rows, *self.sets.training.rows],
            skip_first=first,
            skip_last=last,
            align=ALIGN,
            **PRUNING,
        )

    def _search(self, ratio: float) -> Any:
        """Search widths of as many parameters as the uniform model has."""
        parameters = self.load_structure_parameters(ratio)
        config = self.study.build_search(parameters=parameters)
        with open_run(self.study.folder / f"search-{parameters}", config) as folder:
            setting = Setting(folder, config, self.compute)
            setting.__dict__["texts"] = Texts(self.texts, digest=self.study.name)
            folder.complete("prepare", lambda: prepare(setting))
            swept = folder.complete("sweep", lambda: sweep(setting, follow=lambda _: None))
            found = folder.complete("search", lambda: search(setting, swept, follow=lambda _: None))
            model, _ = setting.live.extract(Allocation(tuple(found["best"][0]), setting.space))
        return model

    def load_structure_parameters(self, ratio: float) -> int:
        """Return the number of parameters of the uniform model."""
        name = name_structure(UNIFORM, ratio)
        if name not in self.records.read_models():
            self.load_structure(UNIFORM, ratio)
        return int(self.records.read_models()[name]["parameters"])

    def forget_checkpoint(self, label: str) -> None:
        """Remove the checkpoint of a finished training."""
        shutil.rmtree(self.study.folder / "checkpoints" / label, ignore_errors=True)
