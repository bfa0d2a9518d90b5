"""The stock types and mixtures of llama.cpp: the type that `llama-quantize` gives to each tensor.

These are facts of `llama-quant.cpp` for dense Llama-like models. A mixture such as `Q3_K_M` gives some
tensors more bits than its name says. A tensor whose rows do not fit a type gets a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from rankadaptor.engine.types import find_type
from rankadaptor.errors import InputError

FALLBACKS: Mapping[str, str] = MappingProxyType(
    {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
)
"""What a type of block 256 becomes where a row is not a multiple of 256. Newer versions take Q4_0 for the
first two, which is as large and less exact."""


class LinearSizes(Protocol):
    """What a stock type depends on: a linear of a model, or what a plan knows of one."""

    @property
    def name(self) -> str:
        """Full module name."""

    @property
    def block(self) -> int:
        """Index of its block."""

    @property
    def kind(self) -> str:
        """Its name inside the block, for example `q_proj`."""

    @property
    def in_features(self) -> int:
        """Columns of the weight."""


@dataclass(frozen=True)
class StockMixture:
    """A stock mixture of llama.cpp.

    Attributes:
        name: As `llama-quantize` calls it.
        default: Type of every tensor that no rule below names.
        value: Types of `v_proj`: in the blocks that get more bits, and in the others.
        down: Types of `down_proj`, likewise.
        output: Type of `o_proj`.
        chosen_value: Which blocks get the first type of `value`: `first_two`, `first_four` or `spread`.
        chosen_down: Which blocks get the first type of `down`: `first_sixteenth`, `first_eighth` or `spread`.
    """

    name: str
    default: str
    value: tuple[str, str] | None = None
    down: tuple[str, str] | None = None
    output: str | None = None
    chosen_value: str = "spread"
    chosen_down: str = "spread"


STOCK: Mapping[str, StockMixture] = MappingProxyType(
    {
        mixture.name: mixture
        for mixture in (
            *(StockMixture(name, name) for name in ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")),
            StockMixture("IQ4_NL", "IQ4_NL", down=("Q5_K", "IQ4_NL"), chosen_down="first_eighth"),
            StockMixture("Q6_K", "Q6_K"),
            StockMixture("Q5_K_S", "Q5_K"),
            StockMixture("Q5_K_M", "Q5_K", value=("Q6_K", "Q5_K"), down=("Q6_K", "Q5_K")),
            StockMixture(
                "Q4_K_S", "Q4_K", value=("Q5_K", "Q4_K"), down=("Q5_K", "Q4_K"),
                chosen_value="first_four", chosen_down="first_eighth",
            ),
            StockMixture("Q4_K_M", "Q4_K", value=("Q6_K", "Q4_K"), down=("Q6_K", "Q4_K")),
            StockMixture("Q3_K_S", "Q3_K"),
            StockMixture(
                "Q3_K_M", "Q3_K", value=("Q5_K", "Q4_K"), down=("Q5_K", "Q4_K"), output="Q4_K",
                chosen_value="first_two", chosen_down="first_sixteenth",
            ),
            StockMixture("Q3_K_L", "Q3_K", value=("Q5_K", "Q5_K"), down=("Q5_K", "Q5_K"), output="Q5_K"),
            StockMixture("Q2_K_S", "Q2_K", down=("Q4_K", "Q2_K"), chosen_down="first_eighth"),
            StockMixture("Q2_K", "Q2_K", value=("Q3_K", "Q3_K"), down=("Q3_K", "Q3_K"), output="Q3_K"),
        )
    }
)  # fmt: skip


def choose_stock_types(
    linears: Sequence[LinearSizes],
    name: str,
    *,
    hidden: int,
    tied: bool,
    grouped_queries: int = 1,
    importance: bool = False,
) -> dict[str, str]:
    """Return the type that `llama-quantize` gives to each matrix of a dense model.

    Args:
        linears: The model's linears (`describe_linears`).
        name: A stock type or mixture, one of `STOCK`.
        hidden: Features of the embedding.
        tied: Whether the output head is the embedding; the tensor then takes the head's type.
        grouped_queries: Query heads that share one key-value head.
        importance: Whether importance weights are used, which changes two rules.

    Returns:
        Type by module name, with `model.embed_tokens` and, unless tied, `lm_head`.

    Raises:
        InputError: If the name is not a stock type.
    """
    mixture = find_stock(name)
    blocks = 1 + max((linear.block for linear in linears), default=0)
    types: dict[str, str] = {}
    for linear in linears:
        chosen = mixture.default
        if linear.kind == "v_proj" and mixture.value is not None:
            more = _is_chosen(linear.block, blocks, mixture.chosen_value)
            chosen = mixture.value[0] if more else mixture.value[1]
            if mixture.name == "Q2_K" and grouped_queries >= 4:
                chosen = "Q4_K"
        elif linear.kind == "v_proj" and mixture.name == "IQ4_NL" and grouped_queries >= 4:
            chosen = "Q5_K"
        elif linear.kind == "o_proj" and mixture.output is not None:
            chosen = mixture.output
        elif linear.kind == "down_proj" and mixture.down and not (importance and name == "IQ4_NL"):
            more = _is_chosen(linear.block, blocks, mixture.chosen_down)
            chosen = mixture.down[0] if more else mixture.down[1]
        elif linear.kind == "down_proj" and importance and name in ("Q4_0", "Q5_0"):
            chosen = name.replace("_0", "_1") if linear.block < blocks // 8 else name
        types[linear.name] = fit_type(chosen, columns=linear.in_features)
    head = mixture.default
    if head not in ("F32", "F16", "BF16"):
        # A head whose rows do not fit the mixture's own type gets 8 bits, another one 6.
        fits = head != "Q8_0" and hidden % find_type(head).block == 0
        head = fit_type("Q6_K", columns=hidden) if fits else "Q8_0"
    if tied:
        types["model.embed_tokens"] = head
    else:
        types["lm_head"] = head
        types["model.embed_tokens"] = fit_type(mixture.default, columns=hidden)
    return types


def find_stock(name: str) -> StockMixture:
    """Return a stock mixture by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in STOCK:
        raise InputError(f"stock type {name!r}: llama.cpp's that are known here are {', '.join(STOCK)}.")
    return STOCK[name]


def fit_type(name: str, *, columns: int) -> str:
    """Return a type, or what llama.cpp takes in its place where rows of `columns` weights do not fit it."""
    if columns % find_type(name).block == 0:
        return name
    other = FALLBACKS.get(name)
    return other if other is not None and columns % find_type(other).block == 0 else "F16"


def _is_chosen(block: int, blocks: int, rule: str) -> bool:
    if rule == "first_two":
        return block < 2
    if rule == "first_four":
        return block < 4
    if rule == "first_sixteenth":
        return block < blocks // 16
    eighth = blocks // 8
    if rule == "first_eighth":
        return block < eighth
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2
