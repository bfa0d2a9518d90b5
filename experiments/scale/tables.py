"""The generated parts of docs/scale.md: what larger models need, and how well the cost model does here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.scale.forecast import H100, MODELS, Gpu, Job, choose_fit, describe_memory, describe_times

GPUS = (1, 8, 64)
KINDS = {"bfloat16": "bf16", "int8": "int8", "nf4": "NF4"}


def render_scale(measured: Mapping[str, Any], *, gpu: Gpu = H100) -> dict[str, str]:
    """Render the document's parts from the cost model and the measurements it is checked against.

    Args:
        measured: The content of `experiments/results/scale.json`.
        gpu: What the tables are about.

    Returns:
        Markdown per marker: `assumptions`, `memory`, `times`, `check`.
    """
    job = Job()
    return {
        "assumptions": _list_assumptions(gpu, job),
        "memory": _render_memory(gpu, job),
        "times": _render_times(gpu, job),
        "check": _render_check(measured),
    }


def _list_assumptions(gpu: Gpu, job: Job) -> str:
    lines = [
        f"From the data sheet of the {gpu.name}: {gpu.peak / 1e12:,.1f} TFLOP/s dense in bfloat16, "
        f"{gpu.memory / 1e9:.0f} GB, {gpu.bandwidth / 1e12:.2f} TB/s.",
        f"**Assumed, not measured**: products reach {gpu.product_share:.0%} of that peak "
        f"({gpu.quantised_share:.0%} of this with NF4 weights), everything around them "
        f"{gpu.bandwidth_share:.0%} of the bandwidth, weights are read at {gpu.reading / 1e9:.0f} GB/s, "
        f"driver and libraries take {gpu.context / 1e9:.1f} GB.",
        f"The job: 20 % pruned; a budget like uniform r={job.rank} on all linears; sequences of {job.length} "
        f"tokens, all full, {job.micro_batch} at a time on a GPU and {job.batch} a step; a trial is "
        f"{job.trial_steps} steps ({job.trial_steps * job.batch * job.length / 1e3:,.0f} k tokens) and "
        f"{job.held_out} held-out sequences; a search is {job.rates} learning rates, {job.evaluations} "
        f"allocations (asked for up to {job.width} at a time) and {job.confirmations} trials of the verdict; "
        f"the full fine-tune has {job.final_tokens / 1e6:.1f} M tokens, two epochs of 50,000 rows as in "
        "LLM-Pruner.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _render_memory(gpu: Gpu, job: Job) -> str:
    rows = []
    for name, shape in MODELS.items():
        memory = describe_memory(shape, gpu=gpu, job=job)
        fit = choose_fit(memory, gpu=gpu)
        trained = [
            f"{memory['training'][kind] / 1e9:.0f} / {memory['checkpointed'][kind] / 1e9:.0f}"
            for kind in KINDS
        ]
        chosen = "no" if fit is None else KINDS[fit.kind] + (", recomputing" if fit.recompute else "")
        rows.append(
            [
                name,
                f"{memory['parameters'] / 1e9:.2f}",
                f"{memory['pruned_parameters'] / 1e9:.2f}",
                *trained,
                f"{memory['pruning'] / 1e9:.0f}",
                f"{memory['plain_pruning'] / 1e9:.0f}",
                chosen,
            ]
        )
    heads = ["model", "parameters (10⁹)", "pruned (10⁹)"]
    heads += [f"trial, {kind} (GB)" for kind in KINDS.values()]
    heads += [
        "Taylor pruning, bf16 (GB)",
        "the plain way, at least (GB)",
        f"fits {gpu.memory / 1e9:.0f} GB as",
    ]
    return _write_table(heads, rows)


def _render_times(gpu: Gpu, job: Job) -> str:
    rows = []
    for name, shape in MODELS.items():
        fit = choose_fit(describe_memory(shape, gpu=gpu, job=job), gpu=gpu)
        if fit is None:
            continue
        for count in GPUS:
            times = describe_times(shape, fit, gpus=count, gpu=gpu, job=job)
            rows.append(
                [
                    name,
                    KINDS[fit.kind],
                    str(count),
                    f"{times['trial']:,.0f}",
                    f"{times['trials_per_hour']:,.0f}",
                    f"{times['search'] / 3600:.2f}",
                    f"{times['final'] / 3600:.2f}",
                ]
            )
    heads = ["model", "frozen linears", "GPUs", "a trial (s)", "trials per hour", "hours per search"]
    return _write_table([*heads, "hours per full fine-tune"], rows)


def _render_check(measured: Mapping[str, Any]) -> str:
    rows = []
    for entry in measured["cases"].values():
        case, found, told = entry["case"], entry["measured"], entry["predicted"]
        extra = [case["quantise"], "gradient checkpointing" if case["checkpointing"] else None]
        rows.append(
            [
                {"smollm2": "SmolLM2-135M", "small": "Llama of 8 blocks of 256"}[case["model"]],
                str(case["length"]),
                ", ".join(each for each in extra if each) or "–",
                f"{found['seconds']:.1f}",
                f"{told['seconds']:.1f}",
                f"{entry['seconds_error']:+.0%}",
                f"{found['peak_bytes'] / 1e6:,.0f}",
                f"{told['peak_bytes'] / 1e6:,.0f}",
                f"{entry['peak_bytes_error']:+.0%}",
            ]
        )
    heads = ["model", "length", "variant", "measured (s)", "predicted (s)", "error"]
    table = _write_table([*heads, "measured (MB)", "predicted (MB)", "error"], rows)
    seconds, peak = measured["largest_seconds_error"], measured["largest_peak_bytes_error"]
    return (
        f"{table}\n\nWithout a variant the largest error is {seconds:.0%} in seconds and {peak:.0%} in "
        "memory. That is how well the model fits, not how well it foretells: the shares of the speed of "
        "matrix products, which was measured in the same process, and the memory of a bare process were set "
        "by these very runs. With gradient checkpointing or quantised weights the model counts far too "
        "little memory for a CPU."
    )


def _write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
