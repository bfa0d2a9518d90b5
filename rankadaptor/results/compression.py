"""What a compression came to: headline, sentences and tables, made from its result document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankadaptor.results.document import Document, get_part
from rankadaptor.results.table import (
    ABSENT,
    Table,
    write_count,
    write_gain,
    write_interval,
    write_loss,
    write_teacher,
)

OURS = "ours"
TEXTS = {"judging": "judging text", "other": "text of another domain"}
WORDS = ("better", "no difference", "worse", "no verdict")


def find_ours(document: Document) -> Mapping[str, Any]:
    """Return the measured point of the result itself."""
    points = get_part(document, "points", sentence="The run has measured no file yet.")
    ours: Mapping[str, Any] = next(point for point in points if point["kind"] == OURS)
    return ours


def explain_compression(document: Document) -> tuple[str, str, list[str]]:
    """Return the verdict's word, a headline that says what was gained, and what it rests on."""
    ours, result = find_ours(document), document["result"]
    verdict, dense = result["verdict"], result["losses"]
    reference = find_dense_file(result["points"])
    smaller = (
        f", {reference['bytes'] / ours['bytes']:.1f} times smaller than {reference['name']}"
        if reference
        else ""
    )
    headline = f"{write_size(ours['bytes'])}{smaller}. {describe_verdict(verdict)}"
    losses = " and ".join(
        f"{loss:.3f} on the {TEXTS[part]} (dense model {dense[part]:.3f})"
        for part, loss in ours["losses"].items()
    )
    sentences = [verdict["sentence"], f"Loss in nats per token: {losses}."]
    if (speed := ours.get("speed")) and reference and (other := reference.get("speed")):
        prompt, generate = (
            speed[key] / other[key] for key in ("prompt_tokens_per_second", "generate_tokens_per_second")
        )
        sentences.append(
            f"Tokens per second against {reference['name']}: prompts × {prompt:.2f}, generation × "
            f"{generate:.2f}, on one thread of llama.cpp."
        )
    sentences += [
        *_explain_ranks(result.get("ranks")),
        *_explain_recovery(result["recovery"]),
        *_explain_checks(result),
        *(f"{reason[0].upper()}{reason[1:]}" for reason in result.get("skipped", ())),
    ]
    return verdict["outcome"], headline, sentences


def describe_verdict(verdict: Mapping[str, Any]) -> str:
    """Return the verdict in one short sentence."""
    gains = [abs(entry["gain"]) for entry in verdict["texts"].values()]
    if verdict["outcome"] == "no verdict":
        return "No reference is as small."
    if verdict["outcome"] == "no difference":
        return f"No difference from {verdict['against']}."
    if verdict["outcome"] == "worse":
        return f"Worse than {verdict['against']}."
    low, high = f"{min(gains):.2f}", f"{max(gains):.2f}"
    span = low if low == high else f"{low} to {high}"
    return f"Better than {verdict['against']} by {span} nats per token."


def find_dense_file(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the largest file of the dense model, which stands for it."""
    stock = [point for point in points if point["kind"] == "stock" and not point["recovered"]]
    return max(stock, key=lambda point: int(point["bytes"]), default=None)


def find_sample(document: Document) -> Mapping[str, str] | None:
    """Return a text and how the file continued it in the engine; None where it was not asked for."""
    engine = document["result"]["export"]["engine"] or {}
    sample: Mapping[str, str] | None = engine.get("sample")
    return sample


def _explain_recovery(recovery: Mapping[str, Any]) -> list[str]:
    before, after = recovery.get("before"), recovery.get("after")
    if before is None or after is None:
        return []
    change = f"{before:.3f} before and {after:.3f} after it, on the text of calibration and search"
    return [
        f"The recovery lowered the loss: {change}."
        if recovery["kept"]
        else f"The recovery gained nothing: {change}. The file holds the model without it."
    ]


def _explain_ranks(ranked: Mapping[str, Any] | None) -> list[str]:
    if ranked is None:
        return []
    return [f"Rank search: {ranked['verdict']['sentence']}"]


def _explain_checks(result: Mapping[str, Any]) -> list[str]:
    engine = result["export"]["engine"]
    if engine is None:
        return ["The file was not loaded in the engine: export.engine is false."]
    same = (
        f"all {engine['greedy_tokens']} generated tokens equal"
        if engine["greedy_equal"] >= engine["greedy_tokens"]
        else f"the first {engine['greedy_equal']} of {engine['greedy_tokens']} generated tokens equal"
    )
    return [
        f"llama.cpp agrees with transformers: loss {engine['loss']:.4f} where "
        f"{engine['loss_expected']:.4f} was expected, the same likeliest token at "
        f"{engine['likeliest_equal']:.0%} of a text's positions, {same}. It rounds activations to 8 bits."
        if engine["loss_agrees"]
        else f"llama.cpp does not agree with transformers: loss {write_loss(engine['loss'])} where "
        f"{engine['loss_expected']:.4f} was expected. Do not use the file; report this."
    ]


def build_points_table(document: Document) -> Table:
    """List every measured file by its size."""
    points = get_part(document, "points", sentence="The run has measured no file yet.")
    parts = list(points[0]["losses"])
    rows = []
    for point in sorted(points, key=lambda each: (int(each["bytes"]), each["name"])):
        speed = point.get("speed") or {}
        rows.append(
            (
                point["name"],
                f"{point['bytes'] / 1e6:.2f}",
                write_count(point["parameters"]),
                *(write_loss(point["losses"][part]) for part in parts),
                _write_speed(speed.get("prompt_tokens_per_second")),
                _write_speed(speed.get("generate_tokens_per_second")),
            )
        )
    return Table(
        name="points",
        title="Every file that was measured; losses in nats per token",
        header=(
            "file",
            "MB",
            "parameters",
            *(f"loss, {TEXTS[part]}" for part in parts),
            "prompt tokens/s",
            "generated tokens/s",
        ),
        rows=tuple(rows),
        note="Recovered references had the same training on the same tokens, merged and then quantised. The "
        "dense weights of kit:smollm2-135m lie on the grid of Q4_1, so Q4_1 costs nothing there before "
        "recovery.",
    )


def build_costs_table(document: Document) -> Table:
    """Compare planned with real costs."""
    exported = get_part(document, "export", sentence="The run has written no file yet.")
    planned, limits = exported["planned"], document["result"]["space"]["limits"]
    rows = [
        (name, write_count(planned.get(name)), write_count(exported[name]), write_count(limits.get(name)))
        for name in ("bytes", "parameters")
    ]
    engine = exported["engine"] or {}
    for name, key in (
        ("prompt_nanoseconds", "prompt_tokens_per_second"),
        ("generate_nanoseconds", "generate_tokens_per_second"),
    ):
        if name in planned:
            real = 1e9 / engine[key] if engine.get(key) else None
            rows.append(
                (
                    name.replace("_", " ") + " per token",
                    write_count(planned[name]),
                    write_count(real),
                    write_count(limits.get(name)),
                )
            )
    return Table(
        name="costs",
        title="Planned and real costs of the file",
        header=("", "planned", "real", "limit"),
        rows=tuple(rows),
    )


def build_verdict_table(document: Document) -> Table:
    """List the gain over the best reference of the size, by text."""
    verdict = get_part(document, "verdict", sentence="The run has given no verdict yet.")
    rows = tuple(
        (
            TEXTS[part],
            write_gain(entry["gain"]),
            write_interval(entry["low"], entry["high"]),
            write_count(entry["count"]),
            entry["outcome"],
        )
        for part, entry in verdict["texts"].items()
    )
    return Table(
        name="verdict",
        title=f"Gain over {verdict['against'] or 'a reference of the size'} in nats per token",
        header=("text", "gain", "95 % interval", "sequences", "verdict"),
        rows=rows,
        note="Paired by sequence; the texts chose nothing. Seeds of the recovery were not varied.",
    )


def build_finalists_table(document: Document) -> Table:
    """List the short recoveries that chose the configuration."""
    found = get_part(document, "finalists", sentence="No finalists were recovered.")
    rows = tuple(
        (
            entry["name"],
            write_loss(entry.get("loss")),
            "chosen" if entry["name"] == document["result"]["chosen"]["name"] else "",
        )
        for entry in found["finalists"]
    )
    rate = "" if found.get("rate") is None else f" at learning rate {found['rate']:g}"
    return Table(
        name="finalists",
        title=f"Loss after a short recovery{rate}, on text that judges nothing",
        header=("configuration", "loss", ""),
        rows=rows,
    )


def build_ranks_table(document: Document) -> Table:
    """List the ranks that a rank search found, and the gains of its fine-tunes."""
    found = get_part(
        document, "ranks", sentence="No rank search was asked for: the recovery has one rank everywhere."
    )
    gains = ", ".join(
        write_gain(entry["gain"]) if entry["gain"] is not None else "failed" for entry in found["history"]
    )
    return Table(
        name="ranks",
        title="Ranks found by the rank search",
        header=("half block", "rank found", "uniform rank"),
        rows=tuple(
            (name, str(rank), str(found["uniform"]))
            for name, rank in zip(found["slots"], found["searched"], strict=True)
        ),
        note="Gains over uniform ranks of the same size that the search measured, in nats per token: "
        f"{gains}. On fresh seeds: {found['verdict']['sentence']}",
    )


def build_layers_table(document: Document) -> Table:
    """List what was chosen for every layer."""
    slots = get_part(document, "chosen", "slots", sentence="Nothing is chosen yet.")
    rows = []
    for slot in slots:
        label = slot["label"]
        width, kind = label if isinstance(label, list) else (None, label)
        share = f"{width / slot['full']:.0%}" if width is not None and slot["full"] else ABSENT
        rows.append((slot["name"], ABSENT if width is None else write_count(width), share, str(kind)))
    return Table(
        name="layers",
        title="Width and type of every layer",
        header=("layer", "channels or KV groups", "kept", "type"),
        rows=tuple(rows),
    )


def build_effort_table(document: Document) -> Table:
    """List time and tokens of every step."""
    cost = get_part(document, "cost", sentence="The run notes no costs.")
    trained = cost["tokens_trained"]
    evaluations = document["result"]["search"]["evaluations"]
    rows = [
        (name, f"{seconds:,.1f}", write_count(evaluations.get(name)), write_count(trained.get(name)))
        for name, seconds in cost["seconds"].items()
    ]
    return Table(
        name="effort",
        title="Time and tokens of every step",
        header=("step", "seconds", "configurations scored", "tokens trained"),
        rows=tuple(rows),
        note=f"{cost['tokens_scored']:,} tokens were scored by the search and the choice of references."
        + write_teacher([document["result"].get("recovery") or {}]),
    )


def write_size(count: int) -> str:
    """Write a file's size in megabytes of 10^6 bytes, a very small one in kilobytes."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _write_speed(speed: float | None) -> str:
    return ABSENT if speed is None else f"{speed:,.0f}"
