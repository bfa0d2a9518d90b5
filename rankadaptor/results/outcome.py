"""The verdict in words: the finding, its length and uncertainty, and the recommended adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankadaptor.results.document import Document, check_schema
from rankadaptor.results.lengths import Lengths, describe_pairs, find_lengths
from rankadaptor.results.table import write_gain


@dataclass(frozen=True)
class Outcome:
    """A verdict for a reader who knows nothing else of the run.

    Attributes:
        word: `better`, `no difference`, `worse` or `no verdict`.
        headline: One short line, with the length of the fine-tunes behind it.
        advice: What to use.
        evidence: What was measured, at which length, and what is known at full length; complete sentences.
        sentences: The evidence, then its uncertainty and limits; complete sentences.
    """

    word: str
    headline: str
    advice: str
    evidence: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def recommended(self) -> str:
        """Name of the recovered allocation to use: `searched` if it is better, else `uniform`."""
        return "searched" if self.word == "better" else "uniform"


def explain_outcome(document: Document) -> Outcome:
    """Describe the verdict of a run in words; a run without one gets the word `no verdict`."""
    check_schema(document)
    result = document.get("result", {})
    verdict: dict[str, Any] = result.get("verdict") or {}
    word = verdict.get("outcome")
    uniform = _name_uniform(result)
    if word is None:
        sentences = (
            "The run stopped before its candidate was measured again on fresh seeds. The search's own "
            "measurement of its winner is biased upwards and is no evidence.",
            "The same command continues the run.",
        )
        return Outcome(
            "no verdict", "No verdict yet", f"Until there is one, use {uniform}.", sentences, sentences
        )
    lengths = find_lengths(document)
    evidence = (
        *_describe_evidence(verdict, lengths),
        *_describe_full_length(result, verdict, lengths),
        *([f"Note: {verdict['reason']}."] if verdict.get("reason") else []),
        *_describe_failures(verdict),
    )
    length = (
        "this length of fine-tune" if lengths.verdict is None else f"fine-tunes of {lengths.verdict} steps"
    )
    limits = f"The verdict holds for this pruned model, this data, this recipe and {length}."
    scale = _compare_with_recovery(result, verdict, lengths)
    over = (
        ""
        if lengths.verdict is None or not verdict.get("gains")
        else f" in {lengths.verdict}-step fine-tunes"
    )
    if word == "better":
        headline, advice = f"The searched ranks are better than {uniform}", "Use the searched allocation."
        more = (*scale,)
    elif word == "worse":
        headline, advice = f"The searched ranks are worse than {uniform}", f"Use {uniform}."
        more = ("The search expected this allocation to be the best; on fresh seeds it is worse.",)
    else:
        headline = f"No difference from {uniform} was found"
        advice = f"Use {uniform}: it is simpler, and no gain of other ranks was shown."
        more = (*_describe_resolution(verdict), *scale)
    return Outcome(word, headline + over, advice, evidence, (*evidence, *more, limits))


def _name_uniform(result: dict[str, Any]) -> str:
    ranks = {rank for rank in (result.get("space") or {}).get("reference") or [] if rank}
    return f"uniform r={ranks.pop()}" if len(ranks) == 1 else "uniform"


def _describe_evidence(verdict: dict[str, Any], lengths: Lengths) -> list[str]:
    gain, low, high = verdict.get("gain"), verdict.get("low"), verdict.get("high")
    gains = verdict.get("gains") or []
    if gain is None or not gains:
        return []
    pairs = describe_pairs(len(gains), lengths)
    sentence = f"Over {pairs}, the searched ranks end with a held-out loss {_write_distance(gain)}"
    if low is not None and high is not None:
        level = f"{100 * verdict.get('confidence', 0.95):g} % interval of the gain"
        sentence += f" ({level}: {write_gain(low)} to {write_gain(high)})"
    return [sentence + "."]


def _write_distance(gain: float) -> str:
    direction = "lower" if gain >= 0 else "higher"
    return f"{abs(gain):.4f} nats per token {direction} than uniform's"


def _describe_full_length(result: dict[str, Any], verdict: dict[str, Any], lengths: Lengths) -> list[str]:
    """Describe what is known at the length of the recovery, if the pairs are shorter."""
    gain = verdict.get("gain")
    if not lengths.shorter or gain is None or not verdict.get("gains"):
        return []
    recovered = result.get("recovered") or {}
    uniform, searched = ((recovered.get(name) or {}).get("loss") for name in ("uniform", "searched"))
    advice = (
        f"A verdict on the full recovery needs pairs of that length: set confirm.steps to {lengths.recovery}."
    )
    if uniform is None or searched is None:
        return [
            f"At the full length of {lengths.recovery} steps the two were not compared, so nothing is known "
            f"about the recovery itself. {advice}"
        ]
    full = uniform - searched
    opposite = "the sign is the opposite: " if full * gain < 0 else ""
    return [
        f"In the full recoveries ({lengths.recovery} steps, one seed each) {opposite}the searched ranks end "
        f"{_write_distance(full)}; with one seed, chance is not excluded. {advice}"
    ]


def _describe_resolution(verdict: dict[str, Any]) -> list[str]:
    low, high = verdict.get("low"), verdict.get("high")
    if low is None or high is None or not low <= 0 <= high:
        return []
    return [
        "The interval includes zero, so chance alone could explain the difference.",
        f"This does not prove the two equal: a gain of up to {high:.4f} nats per token, or a loss "
        f"of up to {-low:.4f}, is consistent with the measurements. More seeds narrow the interval.",
    ]


def _compare_with_recovery(result: dict[str, Any], verdict: dict[str, Any], lengths: Lengths) -> list[str]:
    """Compare the gain with the loss that recovery wins back."""
    pruned = (result.get("losses") or {}).get("pruned")
    uniform = ((result.get("recovered") or {}).get("uniform") or {}).get("loss")
    gain = verdict.get("gain")
    if pruned is None or uniform is None or gain is None or pruned - uniform <= 0:
        return []
    share = 100 * abs(gain) / (pruned - uniform)
    steps = "" if lengths.recovery is None else f" ({lengths.recovery} steps)"
    short = (
        f"the difference after {lengths.verdict} steps" if lengths.shorter else "the difference in question"
    )
    return [
        f"For scale: full recovery with uniform ranks{steps} wins back {pruned - uniform:.3f} nats per "
        f"token; {short} is {share:.2g} % of that."
    ]


def _describe_failures(verdict: dict[str, Any]) -> list[str]:
    failures = verdict.get("failures") or []
    if not failures:
        return []
    return [
        f"{len(failures)} of {len(verdict.get('seeds') or failures)} runs failed ({'; '.join(failures)})."
    ]
