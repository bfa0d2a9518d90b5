"""The chosen configuration, recovered in full, as a Hugging Face folder and as a file that was checked."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.defaults import COMPRESSION
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.errors import NonFiniteError, RankAdaptorError
from rankadaptor.files import write_json
from rankadaptor.model import describe_model, save_pruned
from rankadaptor.named_models import load
from rankadaptor.pipeline.compression.candidates import Candidate, measure_choice, recover_candidate
from rankadaptor.pipeline.compression.rounding import round_weights
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.pipeline.stored_files import digest_checkpoint
from rankadaptor.pipeline.text_jobs.texts import JUDGING

logger = logging.getLogger(__name__)

MODEL_FOLDER, FILE = "model", "model.gguf"
RECOVERED_FOLDER = "recovered"
LARGEST_LOSS_GAP = 0.01
"""Share by which the engine's loss may differ from ours."""
CHECKED_SEQUENCES = 4
DEFAULT_TYPE = "F16"
CONTEXT_PIECE = 256


def recover_chosen(
    setting: Setting, candidate: Candidate, *, rate: float | None, ranks: Sequence[int] | None = None
) -> dict[str, Any]:
    """Extract the chosen configuration, recover it in full, and save it unquantised.

    A recovery may cost more than it gains where little was lost: weights that lie on the grid of a type leave
    it. The recovered model is kept if it is better on the text that chose it, with its weights rounded.

    Args:
        setting: The run's inputs.
        candidate: The configuration.
        rate: Learning rate; None without a recovery.
        ranks: Of `recover_merged`.

    Returns:
        `kept` (whether the recovery is), `before` and `after` (loss on that text, nats per token), `tokens`,
        `losses` (training loss by step), `types` (by module), `files` (digests), and with a teacher `teacher`
        (its tokens and seconds).
    """
    model, types = candidate.extract(setting)
    tokens, before, after = 0, None, None
    losses: tuple[float, ...] = ()
    taught: dict[str, Any] = {}
    given = setting.config.recover
    if given is not None:
        assert rate is not None
        before = _measure_unrecovered(setting, model, types)
        recovered = recover_candidate(
            setting,
            copy.deepcopy(model),
            types,
            steps=given.steps,
            rate=rate,
            checkpoint=setting.folder.path / RECOVERED_FOLDER,
            ranks=ranks,
        )
        after = measure_choice(setting, recovered.model, types, in_place=False)
        tokens, losses = recovered.tokens, recovered.losses
        logger.info("recovery: loss %.4f before, %.4f after it", before, after)
        if after < before:
            model = recovered.model
        else:
            logger.warning("the recovery gained nothing; the file holds the model without it")
        if recovered.teacher_tokens:
            seconds = round(recovered.teacher_seconds, 2)
            taught = {"teacher": {"tokens": recovered.teacher_tokens, "seconds": seconds}}
    place = setting.folder.path / MODEL_FOLDER
    save_pruned(model, setting.tokenizer, place, dtype="float32")
    return {
        "kept": before is not None and after is not None and after < before,
        "before": before,
        "after": after,
        "tokens": tokens,
        "losses": list(losses),
        "types": dict(types),
        "files": digest_checkpoint(place),
        **taught,
    }


def keep_chosen(
    setting: Setting, candidate: Candidate, rate: float | None, ranks: Sequence[int] | None
) -> dict[str, Any]:
    """Recover the chosen configuration, or read what an interrupted start of the run has kept of it."""
    file = name_recovered(setting)
    if not file.exists():
        write_json(file, recover_chosen(setting, candidate, rate=rate, ranks=ranks))
    keys = ("kept", "before", "after", "tokens", "losses", "types", "files")
    return read_object(file, keys=keys, what="a recovery", cost="it is read from its checkpoint")


def name_recovered(setting: Setting) -> Path:
    """Return the file of what `recover_chosen` found."""
    return setting.folder.path / RECOVERED_FOLDER / "result.json"


def _measure_unrecovered(setting: Setting, model: Any, types: Mapping[str, str]) -> float:
    try:
        return measure_choice(setting, model, types, in_place=False)
    except NonFiniteError:
        return sys.float_info.max


def load_recovered(setting: Setting) -> Any:
    """Load what `recover_chosen` saved."""
    exact = dataclasses.replace(setting.compute, dtype="float32", quantise=None)
    model, _ = load(setting.folder.path / MODEL_FOLDER, compute=exact)
    return model


def export_chosen(
    setting: Setting, recovered: Mapping[str, Any], planned: Mapping[str, int]
) -> dict[str, Any]:
    """Write the file, compare its costs with the planned ones, and check it on the engine.

    Returns:
        `bytes`, `sha256`, `parameters`, `planned`, `engine` (None where it is off).

    Raises:
        RankAdaptorError: If the file is not as large as planned: a defect of the toolkit.
    """
    model, types = load_recovered(setting), recovered["types"]
    path = setting.folder.path / FILE
    written = write_gguf(model, setting.tokenizer, path, types=types, default_type=DEFAULT_TYPE)
    if written.bytes != planned["bytes"]:
        raise RankAdaptorError(
            f"{path}: {written.bytes:,} bytes, {planned['bytes']:,} were planned. Please report this with "
            "the run file."
        )
    parameters = int(describe_model(model)["parameters"])
    logger.info("%s: %d bytes, %d parameters", path, written.bytes, parameters)
    return {
        "bytes": written.bytes,
        "sha256": written.sha256,
        "parameters": parameters,
        "planned": dict(planned),
        "engine": check_file(setting, model, types, path) if setting.config.export.engine else None,
    }


def check_file(setting: Setting, model: Any, types: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Compare a file on the engine with the model that it was made from, and measure its speed.

    Tokens are compared on a file of the same weights in float32: with quantised weights the engine rounds the
    inputs of its products too, and two almost equal logits may change places.

    Returns:
        `greedy_equal` (of `greedy_tokens`), `likeliest_equal` (share of the positions of a text at which both
        name the same token), `loss`, `loss_expected`, `loss_agrees`, speeds in tokens per second, `sample`
        (a text and how the file continues it; None where none is asked for).
    """
    from rankadaptor.engine.session import EngineSession

    given = setting.config.export
    rounded = round_weights(model, types)
    sequences = [sequence.input_ids for sequence in setting.texts[JUDGING][:CHECKED_SEQUENCES]]
    prompt = list(sequences[0][: len(sequences[0]) // 2])
    expected, tokens = (
        _generate(rounded, prompt, given.check_tokens),
        sum(len(each) - 1 for each in sequences),
    )
    loss_expected = sum(_sum_losses(rounded, each) for each in sequences) / tokens
    context = count_context(
        given.prompt + given.generated,
        *(len(each) for each in sequences),
        len((given.sample or "").encode()) + COMPRESSION.sample_tokens,
    )
    with tempfile.TemporaryDirectory(prefix=".check-", dir=setting.folder.path) as place:
        exact = Path(place) / "float32.gguf"
        write_gguf(rounded, setting.tokenizer, exact, types=dict.fromkeys(types, "F32"), default_type="F32")
        with EngineSession(exact, threads=1, context=context) as session:
            greedy = list(session.greedy(prompt, given.check_tokens))
    with EngineSession(path, threads=1, context=context) as session:
        loss = sum(float(sum(session.token_losses(list(each)))) for each in sequences) / tokens
        likely = session.logits(list(sequences[0])).argmax(axis=-1).tolist()
        speed = session.measure_speed(prompt=given.prompt, generated=given.generated)
        text = None if given.sample is None else session.generate(given.sample, COMPRESSION.sample_tokens)
    equal = next(
        (place for place, pair in enumerate(zip(greedy, expected, strict=False)) if pair[0] != pair[1]),
        min(len(greedy), len(expected)),
    )
    agrees = abs(loss - loss_expected) <= LARGEST_LOSS_GAP * loss_expected
    if not agrees:
        # Not a number: the inputs of a product are too large for the half precision of its scales.
        logger.warning(
            "engine: loss %.4f where %.4f was expected: do not use the file", loss, loss_expected
        )  # fmt: skip
    return {
        "greedy_equal": equal,
        "greedy_tokens": given.check_tokens,
        "likeliest_equal": _count_equal(likely, _find_likeliest(rounded, sequences[0])) / len(likely),
        "loss": loss if math.isfinite(loss) else None,
        "loss_expected": loss_expected,
        "loss_agrees": agrees,
        "prompt_tokens_per_second": speed.prompt,
        "generate_tokens_per_second": speed.generate,
        "threads": 1,
        "sample": None if text is None else {"prompt": given.sample, "continuation": text},
    }


def count_context(*lengths: int) -> int:
    """Return a context that holds all lengths: llama.cpp allots it in pieces."""
    return CONTEXT_PIECE * -(-(max(lengths) + 8) // CONTEXT_PIECE)


def measure_file_speed(setting: Setting, path: Path) -> dict[str, float]:
    """Return the tokens per second of a file on the engine."""
    from rankadaptor.engine.session import EngineSession

    given = setting.config.export
    context = count_context(given.prompt + given.generated)
    with EngineSession(path, threads=1, context=context) as session:
        speed = session.measure_speed(prompt=given.prompt, generated=given.generated)
    return {
        "prompt_tokens_per_second": speed.prompt,
        "generate_tokens_per_second": speed.generate,
    }


def _generate(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    import torch

    tokens = torch.tensor([list(prompt)], device=model.device)
    with torch.no_grad():
        found = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return [int(token) for token in found[0, len(prompt) :]]


def _find_likeliest(model: Any, tokens: Sequence[int]) -> list[int]:
    import torch

    ids = torch.tensor([list(tokens)], device=model.device)
    with torch.no_grad():
        return [int(each) for each in model(input_ids=ids, use_cache=False).logits[0].argmax(dim=-1)]


def _count_equal(ones: Sequence[int], others: Sequence[int]) -> int:
    return sum(one == other for one, other in zip(ones, others, strict=True))


def _sum_losses(model: Any, tokens: Sequence[int]) -> float:
    import torch

    ids = torch.tensor([list(tokens)], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
