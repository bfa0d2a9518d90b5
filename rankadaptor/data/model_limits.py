"""Checks of token ids against a model's embedding, and of lengths against its positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rankadaptor.errors import InputError


def check_tokens(ids: Iterable[int], tokenizer: Any, model: Any) -> None:
    """Check that the model's embedding has a row for every token.

    Args:
        ids: Token ids.
        tokenizer: Their tokenizer, for the message.
        model: The model that reads them.

    Raises:
        InputError: If an id has no row; the message names the token, its id and the number of rows.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    highest = max(ids, default=0)
    if highest < rows:
        return
    token = tokenizer.convert_ids_to_tokens(highest)
    raise InputError(
        f"The token {token!r} has the id {highest}, but the model's embedding has {rows} rows (ids 0 to "
        f"{rows - 1}). It was added only to the tokenizer. Before pruning, call "
        f"model.resize_token_embeddings({highest + 1}); or take the token out of the tokenizer and the texts."
    )


def find_positions(config: Mapping[str, Any]) -> int | None:
    """Return how many positions a model's configuration allows, scaling included; None if it does not say."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if isinstance(factor, int | float) and scaling.get("rope_type", scaling.get("type")) != "llama3":
        original = scaling.get("original_max_position_embeddings") or positions
        return max(positions, int(factor * original))
    return positions


def check_length(length: int, positions: int | None, *, what: str = "max_length") -> None:
    """Check that sequences of a length fit the positions of a model.

    Raises:
        InputError: If they do not.
    """
    if positions is not None and length > positions:
        raise InputError(
            f"{what}={length}: more than the {positions} positions of the model (max_position_embeddings "
            f"in its config.json). Choose {positions} or fewer."
        )
