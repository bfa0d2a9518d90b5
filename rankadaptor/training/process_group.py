"""Data-parallel fine-tuning by the processes of `accelerate launch`, one device each.

Every process holds the frozen model and the adapter, computes its part of each batch, and sums gradients with
the others before the step. The batch is that of the recipe: more devices change the time of a fine-tune, not
its result.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rankadaptor.errors import CheckpointError, InputError

if TYPE_CHECKING:
    import torch

    from rankadaptor.recipe import Recipe

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one fine-tune, seen from one of them.

    Attributes:
        index: This process's number, from 0.
        count: Number of processes.
    """

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and the log."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part; parts of a list sorted by length have similar lengths."""
        return items[self.index :: self.count]

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up every parameter's gradient over all processes, in place, in one exchange."""
        if self.count == 1:
            return
        import torch

        missing = [parameter for parameter in parameters if parameter.grad is None]
        for parameter in missing:
            parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([value.grad.flatten() for value in parameters if value.grad is not None])
        torch.distributed.all_reduce(flat)
        place = 0
        for parameter in parameters:
            if parameter.grad is not None:
                size = parameter.numel()
                parameter.grad.copy_(flat[place : place + size].view_as(parameter))
                place += size

    def copy_from_leader(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every process the leader's values, in place."""
        if self.count == 1:
            return
        import torch

        for parameter in parameters:
            torch.distributed.broadcast(parameter.data, src=0)

    def sum_numbers(self, *numbers: float, device: str = "cpu") -> tuple[float, ...]:
        """Add up numbers over all processes."""
        if self.count == 1:
            return numbers
        import torch

        values = torch.tensor(numbers, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(values)
        return tuple(values.tolist())

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()

    def check_batch(self, recipe: Recipe) -> None:
        """Check that a batch can be divided evenly.

        Raises:
            InputError: If it cannot.
        """
        if recipe.batch_size % self.count:
            raise InputError(
                f"batch_size={recipe.batch_size} cannot be shared evenly by {self.count} processes. Choose a "
                "multiple, or launch as many processes as divide it."
            )

    def check_step(self, step: int, *, device: str) -> None:
        """Check that all processes resume from one checkpoint.

        Raises:
            CheckpointError: If they found different ones.
        """
        if self.count > 1 and self.sum_numbers(step, step * step, device=device) != (
            step * self.count,
            step * step * self.count,
        ):
            raise CheckpointError(
                "The processes of this fine-tune found different checkpoints. The checkpoint folder must be "
                "on storage that all of them see; copy it there, or delete it everywhere to start over."
            )


ALONE = ProcessGroup()


@contextlib.contextmanager
def join_process_group(*, device: str) -> Iterator[ProcessGroup]:
    """Form a group of the processes that `accelerate launch` or torchrun started, or of one process.

    On CUDA each process takes the device of its local rank: join before anything is loaded.

    Args:
        device: `cpu` or `cuda`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    import torch
    from accelerate import PartialState

    opened = not torch.distributed.is_initialized()
    state = PartialState(cpu=device == "cpu")
    group = ProcessGroup(index=state.process_index, count=state.num_processes)
    if group.leads:
        logger.info("%d processes share each batch (%s)", group.count, state.backend)
    try:
        yield group
    finally:
        if opened:
            state.destroy_process_group()
