"""Operations and bytes of pruning, fine-tuning and scoring, counted from a model's sizes.

Operations follow [Kaplan]_: 2 per weight and token forward, 2 more for the gradient of the activations; the
2 for the gradient of the weight apply to adapters only. Attention adds 4 x length x width forward and
twice that backward ([PaLM]_, appendix B), half of it where attention is causal. Bytes are counted from the
activations that the training loop keeps for its backward pass; see `count_kept_numbers`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rankadaptor.planning.shape import BlockShape, ModelShape

FORWARD, BACKWARD = 2, 2  # operations per weight and token
ADAPTER_BYTES = 16  # float32 weight, gradient, two moments of Adam
HEAD_PIECE = 128  # rows of logits in memory at once, as `PIECE` of the training loop
HEAD_BYTES = 12  # logits, their logarithms, and their gradient in the weights' precision, per entry
KL_LIMIT, KL_ENTRY_BYTES = 150_000_000, 24  # of all logits with a teacher, as in the training loop; per entry
TAYLOR_TOKENS = 256  # tokens per forward pass of Taylor importance
TAYLOR_HEAD_BYTES = 16  # the model's own loss keeps logits, their float32 copy, logarithms and gradient
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.01, "nf4": 0.52}
"""Bytes of one weight; 8 and 4 bits with their scales, [Int8]_ and [QLoRA]_ (4.13 bits)."""


@dataclass(frozen=True)
class Work:
    """Tokens that pass through a model.

    Attributes:
        tokens: Tokens read.
        targets: Tokens predicted: only these pass the output embedding.
        length: Tokens per sequence.
    """

    tokens: float
    targets: float
    length: float


@dataclass(frozen=True)
class Cost:
    """Work of a processor.

    Attributes:
        operations: Floating-point operations in matrix products.
        moved: Numbers read and written outside of them: norms, activations, softmax.
    """

    operations: float
    moved: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.operations + other.operations, self.moved + other.moved)


def count_forward(shape: ModelShape, work: Work) -> Cost:
    """Count a forward pass."""
    return _count(shape, work, adapter=0, backward=False)


def count_training(shape: ModelShape, work: Work, *, adapter: int, recompute: bool = False) -> Cost:
    """Count a forward and backward pass through frozen weights and an adapter.

    Args:
        shape: The model.
        work: The tokens.
        adapter: Parameters of the adapter.
        recompute: Whether activations are computed again in the backward pass.
    """
    cost = _count(shape, work, adapter=adapter, backward=True)
    return cost + _count(shape, work, adapter=adapter, backward=False) if recompute else cost


def count_teacher(shape: ModelShape, work: Work) -> Cost:
    """Count what a teacher costs: a forward pass, and the softmax of its logits and its comparison."""
    return count_forward(shape, work) + Cost(0.0, 4.0 * shape.vocabulary * work.targets)


def count_taylor(shape: ModelShape, work: Work) -> Cost:
    """Count Taylor importance: two forward passes, and the gradients of activations and weights."""
    inner = sum(linear.in_features * linear.out_features for linear in shape.linears)
    once = _count(shape, work, adapter=0, backward=True) + count_forward(shape, work)
    return once + Cost(2.0 * inner * work.tokens, 2.0 * inner)


def _count(shape: ModelShape, work: Work, *, adapter: int, backward: bool) -> Cost:
    inner = sum(linear.in_features * linear.out_features for linear in shape.linears)
    head = shape.hidden * shape.vocabulary
    passes = FORWARD + (BACKWARD if backward else 0)
    operations = passes * (inner * work.tokens + head * work.targets)
    operations += (passes + 2 * backward) * adapter * work.tokens
    width = sum(block.heads * shape.head_dim for block in shape.blocks)
    operations += (6 if backward else 2) * work.length * width * work.tokens
    touched = sum(_count_touched(shape, block) for block in shape.blocks) * work.tokens
    moved = touched * (3.0 if backward else 0.5) + shape.vocabulary * work.targets * (6 if backward else 3)
    return Cost(operations, moved)


def _count_touched(shape: ModelShape, block: BlockShape) -> int:
    """Numbers that a forward pass reads and writes around the products of one block, per token."""
    query, key = block.heads * shape.head_dim, block.kv_heads * shape.head_dim
    return 10 * shape.hidden + 6 * query + 4 * key + 5 * block.channels


def count_weight_bytes(shape: ModelShape, *, dtype: str, quantise: str | None = None) -> float:
    """Count the bytes of all weights; embeddings and norms keep `dtype` if linears are quantised."""
    inner = sum(linear.in_features * linear.out_features for linear in shape.linears)
    rest = shape.parameters - inner
    return inner * WEIGHT_BYTES[quantise or dtype] + rest * WEIGHT_BYTES[dtype]


def count_kept_numbers(shape: ModelShape, block: BlockShape) -> int:
    """Count the numbers per token that one block keeps for its backward pass.

    Both norms keep input and output (4 hidden). Attention keeps queries, keys and values, and its output
    twice (also transposed for the next product). The MLP keeps gate, up and their product.
    """
    query, key = block.heads * shape.head_dim, block.kv_heads * shape.head_dim
    return 4 * shape.hidden + 3 * query + 2 * key + 3 * block.channels


def count_training_bytes(
    shape: ModelShape,
    work: Work,
    *,
    adapter: int,
    dtype: str,
    quantise: str | None = None,
    recompute: bool = False,
) -> float:
    """Count the bytes on one device while it trains on `work` at a time.

    Args:
        shape: The model.
        work: One micro batch.
        adapter: Parameters of the adapter.
        dtype: Precision of weights and activations.
        quantise: Precision of the frozen linears, if it differs.
        recompute: Whether only the input of each block is kept.
    """
    kept = [count_kept_numbers(shape, block) for block in shape.blocks]
    per_token = shape.hidden * len(kept) + max(kept, default=0) if recompute else sum(kept)
    activations = WEIGHT_BYTES[dtype] * per_token * work.tokens
    head = HEAD_BYTES * min(HEAD_PIECE, work.targets) * shape.vocabulary
    widest = max((linear.in_features * linear.out_features for linear in shape.linears), default=0)
    opened = WEIGHT_BYTES[dtype] * widest if quantise else 0.0  # one linear at a time in full precision
    weights = count_weight_bytes(shape, dtype=dtype, quantise=quantise)
    return weights + ADAPTER_BYTES * adapter + activations + head + opened


def count_scoring_bytes(shape: ModelShape, work: Work, *, dtype: str, quantise: str | None = None) -> float:
    """Count the bytes on one device while it scores `work` at a time."""
    widest = max((_count_touched(shape, block) for block in shape.blocks), default=0)
    head = HEAD_BYTES * min(HEAD_PIECE, work.targets) * shape.vocabulary
    weights = count_weight_bytes(shape, dtype=dtype, quantise=quantise)
    return weights + WEIGHT_BYTES[dtype] * widest * work.tokens + head


def count_teacher_bytes(shape: ModelShape, work: Work, *, dtype: str, outputs: bool = False) -> float:
    """Count the bytes that a teacher adds on one device, the student's own left out.

    Args:
        shape: The teacher.
        work: One micro batch.
        dtype: Precision of weights and activations.
        outputs: Whether the outputs of its blocks are kept for a comparison, and the student's too.
    """
    widest = max((_count_touched(shape, block) for block in shape.blocks), default=0)
    kept = shape.hidden * work.targets * (1 + (2 * len(shape.blocks) if outputs else 0))
    activations = WEIGHT_BYTES[dtype] * (widest * work.tokens + kept)
    rows = min(HEAD_PIECE, max(1, KL_LIMIT // (KL_ENTRY_BYTES * shape.vocabulary)), work.targets)
    return count_weight_bytes(shape, dtype=dtype) + activations + KL_ENTRY_BYTES * rows * shape.vocabulary


def count_taylor_bytes(shape: ModelShape, work: Work, *, dtype: str) -> float:
    """Count the bytes of Taylor importance: weights, inputs of all blocks, graph and gradients of one."""
    per_block: dict[int, int] = {}
    for linear in shape.linears:
        size = linear.in_features * linear.out_features
        per_block[linear.block] = per_block.get(linear.block, 0) + size
    chunk = min(work.tokens, max(TAYLOR_TOKENS, work.length))
    number = WEIGHT_BYTES[dtype]
    inputs = number * shape.hidden * len(shape.blocks) * work.tokens
    graph = number * max((count_kept_numbers(shape, block) for block in shape.blocks), default=0) * chunk
    gradients = (number + 4) * max(per_block.values(), default=0)
    head = TAYLOR_HEAD_BYTES * chunk * shape.vocabulary
    return count_weight_bytes(shape, dtype=dtype) + inputs + max(graph + gradients, head)
