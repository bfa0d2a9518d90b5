"""The verdict of a compression: paired by sequence, on every text, and ready to say no difference."""

from __future__ import annotations

from typing import Any

from rankadaptor.pipeline.compression.judging import compare

PARTS = ("judging", "other")


def point(name: str, size: int, judging: list[float], other: list[float]) -> dict[str, Any]:
    losses = {"judging": sum(judging) / len(judging), "other": sum(other) / len(other)}
    return {
        "name": name,
        "bytes": size,
        "losses": losses,
        "sequence_losses": {"judging": judging, "other": other},
    }


def test_better_holds_on_every_text_against_the_best_of_the_size():
    ours = point("ours", 100, [3.0, 3.1, 3.2], [4.0, 4.1, 4.2])
    worse = point("far", 90, [5.0, 5.1, 5.2], [6.0, 6.1, 6.2])
    best = point("near", 100, [3.5, 3.61, 3.7], [4.5, 4.61, 4.7])
    larger = point("larger", 200, [1.0, 1.1, 1.2], [1.0, 1.1, 1.2])
    found = compare(ours, [worse, best, larger], parts=PARTS)
    assert (found["outcome"], found["against"]) == ("better", "near")
    assert found["texts"]["judging"]["low"] > 0.4
    mixed = compare(ours, [point("mixed", 100, [3.5, 3.61, 3.7], [3.9, 4.2, 4.2])], parts=PARTS)
    assert mixed["outcome"] == "no difference"
    assert mixed["sentence"].startswith("No difference from mixed")
    lost = compare(ours, [point("good", 100, [2.5, 2.61, 2.7], [4.0, 4.1, 4.2])], parts=PARTS)
    assert lost["outcome"] == "worse"
    none = compare(ours, [larger], parts=PARTS)
    assert none["outcome"] == "no verdict"
    assert "larger" in none["sentence"]
