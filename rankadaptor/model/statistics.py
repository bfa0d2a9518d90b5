"""Costs of a model: parameters, multiply-accumulates, memory and measured speed."""

from __future__ import annotations

import time
from typing import Any

import torch

from rankadaptor.errors import InputError
from rankadaptor.model.families import describe_blocks, describe_linears


def describe_model(
    model: Any,
    tokenizer: Any = None,
    *,
    length: int = 64,
    batch_size: int = 1,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Count a model's parameters, multiply-accumulates and bytes, and time its forward pass on its device.

    Args:
        model: A supported causal language model, with or without adapters.
        tokenizer: Its tokenizer; if given, timed tokens are drawn from its vocabulary and not from the
            padding.
        length: Tokens of the sequence that is counted and timed; LLM-Pruner reports 64.
        batch_size: Sequences per timed pass.
        repeats: Timed passes after one to warm up; the fastest is reported. 0 measures no speed.
        seed: Seed of the random tokens that are timed.

    Returns:
        `parameters`; `block_parameters`, those of the blocks' linears alone; `macs`, multiply-accumulates of
        one sequence of `length` tokens (linears, attention scores and mixing, output layer); `bytes` of all
        weights and buffers; `length`; and `tokens_per_second`, or None. Adapters affect only the speed, which
        is measured on the model as it is; merging them does not change the other figures.
        `adapter_parameters` is their number of parameters.

    Raises:
        InputError: If a number is out of range or the architecture is not supported.
    """
    if length < 1 or batch_size < 1 or repeats < 0:
        raise InputError(
            f"length={length}, batch_size={batch_size}, repeats={repeats}: at least 1, 1 and 0 are needed."
        )
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    linears, output = describe_linears(model), model.get_output_embeddings().weight
    products = sum(linear.in_features * linear.out_features for linear in linears)
    attention = sum(2 * length * shape.heads * shape.head_dim for shape in describe_blocks(model))
    vocabulary = model.config.vocab_size if tokenizer is None else len(tokenizer)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (batch_size, length), generator=generator)
    adapter = _find_adapter_tensors(model)
    parameters = [tensor for tensor in model.parameters() if tensor.data_ptr() not in adapter]
    tensors = [*parameters, *model.buffers()]
    held = sum(tensor.numel() for tensor in model.parameters()) - sum(tensor.numel() for tensor in parameters)
    return {
        "parameters": model.num_parameters() - held,
        "adapter_parameters": held,
        "block_parameters": sum(model.get_submodule(li.name).weight.numel() for li in linears),
        "macs": length * (products + attention + output.numel()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "length": length,
        "tokens_per_second": _measure_speed(model, tokens, repeats) if repeats else None,
    }


def _find_adapter_tensors(model: Any) -> frozenset[int]:
    """Return the addresses of the weights of a model's adapters."""
    if not getattr(model, "peft_config", None):
        return frozenset()
    from peft import get_peft_model_state_dict

    return frozenset(
        tensor.data_ptr()
        for name in model.peft_config
        for tensor in get_peft_model_state_dict(model, adapter_name=name).values()
    )


def _measure_speed(model: Any, tokens: torch.Tensor, repeats: int) -> float:
    device = model.get_output_embeddings().weight.device
    tokens = tokens.to(device)
    training = model.training
    model.eval()
    fastest = float("inf")
    try:
        with torch.no_grad():
            for index in range(repeats + 1):
                started = time.perf_counter()
                model(input_ids=tokens, use_cache=False)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if index:
                    fastest = min(fastest, time.perf_counter() - started)
    finally:
        model.train(training)
    return tokens.numel() / fastest
