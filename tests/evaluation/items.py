"""Hand-made rows in the form of each of the seven benchmarks."""

from __future__ import annotations

from typing import Any

TOPICS = ("river", "bridge", "town", "fox", "dog", "lamp", "stone", "cloud", "boat", "field")


def make_rows(name: str) -> list[dict[str, Any]]:
    """Return ten rows with the columns that lm-eval 0.4.13 reads for this benchmark."""
    return [_MAKERS[name](index, topic) for index, topic in enumerate(TOPICS)]


def _make_boolq(index: int, topic: str) -> dict[str, Any]:
    passage = f"The {topic} -- The {topic} is old and lies to the north."
    return {"question": f"is the {topic} old", "passage": passage, "idx": index, "label": index % 2}


def _make_piqa(index: int, topic: str) -> dict[str, Any]:
    ends = {
        "sol1": f"Walk to the {topic} and look.",
        "sol2": f"Sell the {topic} to a passing, rather tired stranger.",
    }
    return {"goal": f"To see the {topic},", **ends, "label": index % 2}


def _make_hellaswag(index: int, topic: str) -> dict[str, Any]:
    return {
        "ind": index,
        "activity_label": "Walking",
        "ctx_a": f"A man walks to the {topic}.",
        "ctx_b": "he",
        "ctx": f"A man walks to the {topic}. he",
        "endings": [
            "stops.",
            f"looks at the {topic} for a while.",
            "[header] sleeps.",
            "walks back the way he came.",
        ],
        "label": str(index % 4),
    }


def _make_winogrande(index: int, topic: str) -> dict[str, Any]:
    sentence = f"The {topic} was behind the house because _ was too small."
    return {
        "sentence": sentence,
        "option1": f"the {topic}",
        "option2": "the house",
        "answer": str(1 + index % 2),
    }


def _make_arc(index: int, topic: str) -> dict[str, Any]:
    choices = {
        "text": ["It is warm.", f"The {topic}.", "Nothing at all, as far as anyone knows.", "Two."],
        "label": list("ABCD"),
    }
    return {
        "id": str(index),
        "question": f"What is near the {topic}?",
        "choices": choices,
        "answerKey": "ABCD"[index % 4],
    }


def _make_openbookqa(index: int, topic: str) -> dict[str, Any]:
    row = _make_arc(index, topic)
    return {
        "id": row["id"],
        "question_stem": f"Near the {topic} is",
        "choices": row["choices"],
        "answerKey": row["answerKey"],
    }


_MAKERS = {
    "boolq": _make_boolq,
    "piqa": _make_piqa,
    "hellaswag": _make_hellaswag,
    "winogrande": _make_winogrande,
    "arc_easy": _make_arc,
    "arc_challenge": _make_arc,
    "openbookqa": _make_openbookqa,
}
