"""The result as a GGUF file: its size, its loss as it comes back from its types, its speed on the engine."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import Any

from rankadaptor.components.composition.costs import describe_ends
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model.families import describe_linears
from rankadaptor.named_models import load
from rankadaptor.pipeline.compression.delivery import count_context
from rankadaptor.pipeline.compression.rounding import round_weights
from rankadaptor.pipeline.elastic.finding import MODEL_FOLDER
from rankadaptor.pipeline.elastic.setting import ElasticSetting
from rankadaptor.verdict import judge_gains

logger = logging.getLogger(__name__)

FILE = "model.gguf"
ROUNDS, PROMPT, GENERATED = 5, 256, 32
PHASES = {"prompt": PROMPT, "generate": GENERATED}


def deliver(setting: ElasticSetting) -> dict[str, Any]:
    """Write the result as a file in the run's types; compare it with the plain result and the dense file.

    Returns:
        `type`, `bytes` and `sha256` of the file, `dense_bytes` of the whole model in the same type, `losses`
        (nats per token of the file's own weights, by text), `gains` (loss of the unquantised result less that
        of the file, with intervals), `speeds` (tokens per second on the engine, of `dense` and `result`,
        measured in turn).
    """
    kind = setting.config.choices.type
    exact = dataclasses.replace(setting.compute, dtype="float32", quantise=None)
    model, tokenizer = load(setting.folder.path / MODEL_FOLDER, compute=exact)
    linears = {linear.name: kind for linear in describe_linears(model)}
    types = linears | setting.types | {end.module: kind for end in describe_ends(model)}
    path = setting.folder.path / FILE
    written = write_gguf(model, tokenizer, path, types=types, default_type=kind)
    losses, gains = {}, {}
    before = {
        part: measure_loss(model, setting.texts[part], compute=setting.compute)
        for part in setting.texts.judging
    }
    rounded = round_weights(model, types, in_place=True)
    for part, plain in before.items():
        found = measure_loss(rounded, setting.texts[part], compute=setting.compute)
        pairs = zip(plain.per_sequence, found.per_sequence, strict=True)
        losses[part] = found.mean
        gains[part] = dataclasses.asdict(judge_gains([one - other for one, other in pairs]))
        logger.info("%s: loss %.4f nats per token on the %s text", path.name, found.mean, part)
    with tempfile.TemporaryDirectory(prefix=".dense-", dir=setting.folder.path) as place:
        dense, _ = load(setting.config.model, compute=exact)
        whole = write_gguf(dense, tokenizer, Path(place) / FILE, default_type=kind)
        speeds = time_files({"dense": whole.path, "result": path})
    return {
        "type": kind,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "dense_bytes": whole.bytes,
        "losses": losses,
        "gains": gains,
        "speeds": speeds,
    }


def time_files(paths: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Return tokens per second of prompts and of generation, one thread each, best of some rounds in turn.

    Seconds are those that the thread computed, so that other processes disturb them less.
    """
    from rankadaptor.engine.session import EngineSession

    times: dict[str, dict[str, list[float]]] = {name: {phase: [] for phase in PHASES} for name in paths}
    context = count_context(PROMPT + GENERATED)
    for _ in range(ROUNDS):
        for name, path in paths.items():
            with EngineSession(path, threads=1, context=context) as session:
                found = session.time_tokens(prompt=PROMPT, generated=GENERATED, clock="processor")
            for phase, seconds in found.items():
                times[name][phase] += seconds
    return {
        name: {f"{phase}_tokens_per_second": PHASES[phase] / min(seconds) for phase, seconds in each.items()}
        for name, each in times.items()
    }
