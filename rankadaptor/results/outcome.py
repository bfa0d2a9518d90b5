"""The verdict in words: what was found, how sure that is, and what to use because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankadaptor.results.document import Document, check_schema
from rankadaptor.results.table import write_gain


@dataclass(frozen=True)
class Outcome:
    """A verdict put for a reader who has seen nothing else.

    Attributes:
        word: `better`, `no difference`, `worse` or `no verdict`.
        headline: One short line.
        advice: What to use.
        sentences: Why, how sure, and what it does not say; complete sentences.
    """

    word: str
    headline: str
    advice: str
    sentences: tuple[str, ...]


def explain_outcome(document: Document) -> Outcome:
    """Put the verdict of a run into words; a run without one gets the word `no verdict`."""
    check_schema(document)
    result = document.get("result", {})
    verdict: dict[str, Any] = result.get("verdict") or {}
    word = verdict.get("outcome")
    uniform = _name_uniform(result)
    if word is None:
        return Outcome(
            "no verdict",
            "No verdict yet",
            f"Until there is one, use {uniform}.",
            (
                "The run stopped before its candidate was measured again on fresh seeds. What the search "
                "itself measured flatters its winner and is no evidence.",
                "The same command continues the run.",
            ),
        )
    evidence = _describe_evidence(verdict)
    caveat = [f"Note: {verdict['reason']}."] if verdict.get("reason") else []
    caveat += _describe_failures(verdict)
    if word == "better":
        return Outcome(
            word,
            f"The searched ranks are better than {uniform}",
            "Use the searched allocation.",
            (*evidence, *_compare_with_recovery(result, verdict), *caveat, _LIMITS),
        )
    if word == "worse":
        return Outcome(
            word,
            f"The searched ranks are worse than {uniform}",
            f"Use {uniform}.",
            (
                *evidence,
                "The search had expected this allocation to be its best; on seeds it had not seen, it lost.",
                *caveat,
                _LIMITS,
            ),
        )
    return Outcome(
        word,
        f"No difference from {uniform} was found",
        f"Use {uniform}: it is simpler and nothing measured here speaks against it.",
        (
            *evidence,
            *_describe_resolution(verdict),
            *_compare_with_recovery(result, verdict),
            *caveat,
            _LIMITS,
        ),
    )


_LIMITS = "The verdict holds for this pruned model, this data, this recipe and this length of fine-tune."


def _name_uniform(result: dict[str, Any]) -> str:
    ranks = {rank for rank in (result.get("space") or {}).get("reference") or [] if rank}
    return f"uniform r={ranks.pop()}" if len(ranks) == 1 else "uniform"


def _describe_evidence(verdict: dict[str, Any]) -> list[str]:
    gain, low, high = verdict.get("gain"), verdict.get("low"), verdict.get("high")
    gains = verdict.get("gains") or []
    if gain is None or not gains:
        return []
    pairs = f"{len(gains)} pair{'s' if len(gains) != 1 else ''} of fine-tunes on fresh seeds"
    direction = "lower" if gain >= 0 else "higher"
    distance = f"{abs(gain):.4f} nats per token {direction}"
    sentence = f"Over {pairs}, the searched ranks end with a held-out loss {distance} than uniform's"
    if low is not None and high is not None:
        level = f"{100 * verdict.get('confidence', 0.95):g} % interval of the gain"
        sentence += f" ({level}: {write_gain(low)} to {write_gain(high)})"
    return [sentence + "."]


def _describe_resolution(verdict: dict[str, Any]) -> list[str]:
    low, high = verdict.get("low"), verdict.get("high")
    if low is None or high is None or not low <= 0 <= high:
        return []
    return [
        "The interval includes zero, so chance alone could explain what was seen.",
        f"This does not prove the two equal: a gain of up to {high:.4f} nats per token, or a loss of up to "
        f"{-low:.4f}, would fit the measurements too. More seeds would narrow it.",
    ]


def _compare_with_recovery(result: dict[str, Any], verdict: dict[str, Any]) -> list[str]:
    """Say how large the gain is beside what recovery itself wins back."""
    pruned = (result.get("losses") or {}).get("pruned")
    uniform = ((result.get("recovered") or {}).get("uniform") or {}).get("loss")
    gain = verdict.get("gain")
    if pruned is None or uniform is None or gain is None or pruned - uniform <= 0:
        return []
    share = 100 * abs(gain) / (pruned - uniform)
    return [
        f"For scale: full recovery with uniform ranks wins back {pruned - uniform:.3f} nats per token; the "
        f"difference in question is {share:.2g} % of that."
    ]


def _describe_failures(verdict: dict[str, Any]) -> list[str]:
    failures = verdict.get("failures") or []
    if not failures:
        return []
    return [
        f"{len(failures)} of {len(verdict.get('seeds') or failures)} runs failed ({'; '.join(failures)})."
    ]
