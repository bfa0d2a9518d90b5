"""Memory that Taylor importance takes beyond the weights, beside the plain way that keeps every gradient.

    python -m experiments.bench.memory [--pairs 5] [--results experiments/results/engine.json]

Each measurement is a fresh process: it loads the kit's model in float32, touches every weight, resets the
kernel's mark of the largest resident set, scores, and reads the mark. The plain way is LLM-Pruner's: one
backward pass over the whole calibration batch into `.grad` of every parameter, then the scores. Merges
`taylor_memory_ratio` and its details into the result file and leaves all other keys alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.bench.document import RESULTS, merge_results, summarise

MODEL = "kit:smollm2-135m"
TARGET = 0.40
EXAMPLES, LENGTH = 10, 64  # LLM-Pruner's calibration, and this package's default

logger = logging.getLogger(__name__)


def measure_taylor_memory(*, pairs: int = 5) -> dict[str, Any]:
    """Measure ours and the plain way in turn, each in a process of its own.

    Returns:
        `taylor_memory_ratio`, its spread, and `taylor_memory` with bytes and seconds of every run.
    """
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for number in range(pairs):
        for way in ("ours", "plain") if number % 2 == 0 else ("plain", "ours"):
            runs[way].append(_measure_in_process(way))
            logger.info("%s: %.0f MB beyond the weights", way, runs[way][-1]["extra_bytes"] / 1e6)
    extra = {way: [run["extra_bytes"] for run in runs[way]] for way in runs}
    ratios = [ours / plain for ours, plain in zip(extra["ours"], extra["plain"], strict=True)]
    return {
        **summarise("taylor_memory_ratio", ratios),
        "taylor_memory": {
            "model": MODEL,
            "dtype": "float32",
            "calibration_tokens": EXAMPLES * LENGTH,
            "pairs": pairs,
            "target": TARGET,
            "weight_bytes": runs["ours"][0]["weight_bytes"],
            "extra_bytes": {way: [int(value) for value in values] for way, values in extra.items()},
            "seconds": {way: [round(run["seconds"], 2) for run in runs[way]] for way in runs},
        },
    }


def _measure_in_process(way: str) -> dict[str, float]:
    answer = subprocess.run(
        [sys.executable, "-m", "experiments.bench.memory", "--way", way],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def measure_here(way: str) -> dict[str, float]:
    """Score the kit's model one way in this process; return bytes beyond the weights, and seconds."""
    import torch

    import rankadaptor as ra
    from rankadaptor.pruning.calibration import make_calibration
    from rankadaptor.pruning.groups import find_groups
    from rankadaptor.pruning.importance import score_groups

    compute = ra.choose_compute(device="cpu", dtype="float32")
    model, tokenizer = ra.load(MODEL, compute=compute)
    groups = find_groups(model)
    tokens = make_calibration("kit:boolq-passages", tokenizer, examples=EXAMPLES, length=LENGTH, seed=0)
    with torch.no_grad():
        touched = sum(float(parameter.sum()) for parameter in model.parameters())  # weights may be mapped
        model(input_ids=tokens[:1, :8], use_cache=False)
    logger.debug("touched %g", touched)
    gc.collect()
    before = reset_peak()
    started = time.perf_counter()
    if way == "ours":
        score_groups(model, groups, importance="param_first", sequences=tokens)
    else:
        _score_plainly(model, tokens)
    return {
        "extra_bytes": read_status("VmHWM") - before,
        "seconds": time.perf_counter() - started,
        "weight_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
    }


def _score_plainly(model: Any, tokens: Any) -> dict[str, Any]:
    model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    return {
        name: (parameter.detach() * parameter.grad).abs().sum(-1)
        for name, parameter in model.named_parameters()
    }


def reset_peak() -> int:
    """Set the kernel's mark of this process's largest resident set to its present size, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_status("VmRSS")


def read_status(key: str) -> int:
    """Read one size of this process from the kernel, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}: this measurement needs Linux")


def main() -> None:
    """Measure and merge, or measure one way for the parent process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--way", choices=("ours", "plain"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        sys.stdout.write(json.dumps(measure_here(given.way)) + "\n")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    found = measure_taylor_memory(pairs=given.pairs)
    merge_results("memory", found, path=given.results)
    logger.info("taylor_memory_ratio %s (target at most %s)", found["taylor_memory_ratio"], TARGET)


if __name__ == "__main__":
    main()
