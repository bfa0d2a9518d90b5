"""The claims of the related systems, and when a run reproduces one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["reproduced", "not reproduced", "undecided"]

MARGIN = 0.02
"""Nats per token that count as no loss, and that a gain has to reach to matter."""

LEAST_TOKENS = 40_000
"""Tokens that a super-network has to be trained on before a run says anything about a claim."""


@dataclass(frozen=True)
class Claim:
    """What a system claims, as a comparison of a run's result with one of its references.

    Attributes:
        text: The claim.
        against: The reference, trained on as many tokens.
        better: Whether the result has to be better; otherwise it must not be worse.
        share: Share of the whole model's parameters that the result may have; None asks for no size.
        speed: Ratio of prompt tokens per second to the whole model's that is wanted; None asks for none.
    """

    text: str
    against: str
    better: bool = False
    share: float | None = None
    speed: float | None = None


CLAIMS: Mapping[str, Claim] = {
    "lonas": Claim(
        "about 80 % of the parameters with the quality of LoRA on the whole model, up to 1.4 times as fast",
        against="lora",
        share=0.86,
        speed=1.2,
    ),
    "shears": Claim(
        "on a sparse model, searched sub-adapters beat an adapter of the largest rank",
        against="lora",
        better=True,
    ),
    "sqft": Claim("one merged sparse 4-bit model is as good as an unmerged one", against="unmerged"),
    "llama_nas": Claim(
        "1.5 times smaller and 1.3 times as fast without retraining, with almost no loss",
        against="lora",
        share=0.67,
        speed=1.3,
    ),
}
"""Published figures: 80 % and 1.23 to 1.41 times [LoNAS]_; 1.5 and 1.3 times [LLaMANAS]_."""


def judge_claim(claim: Claim, result: Mapping[str, Any]) -> tuple[Verdict, str]:
    """Judge a claim by a run's result; return the verdict and what it rests on.

    Quality is judged on both texts by the 95 % intervals of the gain over the reference. *Not worse* holds
    where an interval lies above −0.02 and fails where one lies below it. *Better* holds where all intervals
    lie above zero and fails where one lies below 0.02, so that no gain of this size is left. Else it is
    undecided, as is every run that was trained on fewer than 40,000 tokens. A missed size or speed makes the
    claim not reproduced, whatever the quality.
    """
    if (tokens := result["training"]["tokens"]) < LEAST_TOKENS:
        return "undecided", f"trained on {tokens:,} tokens, fewer than {LEAST_TOKENS:,}"
    missed = [*_list_missed(claim, result)]
    intervals = result["verdicts"].get(claim.against, {})
    if missed:
        return "not reproduced", "; ".join(missed)
    if not intervals or any(entry["low"] is None for entry in intervals.values()):
        return "undecided", f"no interval of the gain over {claim.against}"
    wanted, refused = (0.0, MARGIN) if claim.better else (-MARGIN, -MARGIN)
    if all(entry["low"] > wanted for entry in intervals.values()):
        return "reproduced", f"the gain over {claim.against} lies above {_write(wanted)} on every text"
    if any(entry["high"] < refused for entry in intervals.values()):
        return "not reproduced", f"the gain over {claim.against} lies below {_write(refused)} on a text"
    return "undecided", f"the interval of the gain over {claim.against} holds {_write(wanted)}"


def find_speed_ratio(result: Mapping[str, Any]) -> float:
    """Return prompt tokens per second relative to the whole model: on the engine if there is a file."""
    if file := result.get("file"):
        name = "prompt_tokens_per_second"
        return float(file["speeds"]["result"][name] / file["speeds"]["dense"][name])
    return float(result["speed"]["result"] / result["speed"]["dense"])


def _list_missed(claim: Claim, result: Mapping[str, Any]) -> list[str]:
    points = {point["name"]: point for point in result["points"]}
    share = points[result["best"]]["parameters"] / points["dense"]["parameters"]
    missed = []
    if claim.share is not None and share > claim.share:
        missed.append(f"the result has {share:.0%} of the parameters")
    if claim.speed is not None and (ratio := find_speed_ratio(result)) < claim.speed:
        missed.append(f"prompts are {ratio:.2f} times as fast")
    return missed


def _write(value: float) -> str:
    return f"{value:g}".replace("-", "−")
