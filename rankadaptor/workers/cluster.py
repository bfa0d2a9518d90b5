"""Workers on a Ray cluster: actors that Ray places where resources are free."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rankadaptor.errors import StorageError
from rankadaptor.requirements import RAY, load_package
from rankadaptor.workers.answers import Fault, call_safely
from rankadaptor.workers.pool import Message, Pool

logger = logging.getLogger(__name__)

Build = Callable[..., Callable[..., Any]]


def join_cluster() -> Any:
    """Return the `ray` module, connected: to the cluster that `RAY_ADDRESS` names, or to a local one.

    Raises:
        InputError: If Ray is not installed or does not load.
        StorageError: If the cluster does not answer.
    """
    ray = load_package(RAY)
    if not ray.is_initialized():
        try:
            ray.init(logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StorageError(
                f"the Ray cluster does not answer ({first}). Check RAY_ADDRESS, and `ray status` on its head "
                "node; without RAY_ADDRESS a cluster is started here. Or set compute.executor to local."
            ) from error
    return ray


class _Actor:
    """What runs in a worker of the cluster. Its methods never raise: errors come back as faults."""

    def __init__(self) -> None:
        self._function: Callable[..., Any] | None = None

    def start(self, build: Build, arguments: tuple[Any, ...]) -> Fault | None:
        self._function, fault = call_safely(build, arguments)
        return fault

    def call(self, arguments: tuple[Any, ...]) -> tuple[Any, Fault | None]:
        if self._function is None:
            return None, Fault("the worker was not started")
        return call_safely(self._function, arguments)


@dataclass(eq=False)
class Worker:
    """An actor and its pending answer."""

    actor: Any
    pending: Any = None
    ready: bool = False


class RayBackend:
    """Ray actors that build a function once and call it for every job.

    Ray neither restarts an actor nor repeats a call: the pool does both, in the same way as for local
    workers.

    Args:
        build: Called in each new actor with `arguments`; returns the function that does jobs.
        arguments: Arguments of `build`. Large ones should hold references into the object store.
        cpus: Cores that an actor takes.
        gpus: Share of a GPU that an actor takes; several actors share one if it is below 1.
    """

    def __init__(self, build: Build, arguments: tuple[Any, ...], *, cpus: float, gpus: float) -> None:
        self._ray = join_cluster()
        self.build, self.arguments = build, arguments
        self._check_resources(cpus, gpus)
        self._kind = self._ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(_Actor)

    def start(self) -> Worker:
        """Ask Ray for an actor; see `Backend`. It starts when and where there is room."""
        actor = self._kind.remote()
        return Worker(actor, actor.start.remote(self.build, self.arguments))

    def send(self, worker: Worker, arguments: tuple[Any, ...]) -> bool:
        """Hand over a job; see `Backend`. A lost actor shows when its answer is asked for."""
        worker.pending = worker.actor.call.remote(arguments)
        return True

    def listen(self, workers: Sequence[Worker], *, timeout: float) -> list[tuple[Worker, Message]]:
        """Collect messages; see `Backend`."""
        owners = {worker.pending: worker for worker in workers if worker.pending is not None}
        if not owners:
            return []
        done, _ = self._ray.wait(list(owners), num_returns=1, timeout=timeout)
        return [(owners[reference], self._read(owners[reference], reference)) for reference in done]

    def end(self, worker: Worker) -> None:
        """Kill the actor; see `Backend`."""
        self._ray.kill(worker.actor, no_restart=True)

    def close(self) -> None:
        """Release the objects shared with the actors; the connection to the cluster stays open."""
        self.arguments = ()

    def _read(self, worker: Worker, reference: Any) -> Message:
        worker.pending = None
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            first = (str(error).strip().splitlines() or [""])[0]
            return Message(
                "gone", fault=Fault(f"a worker of the cluster was lost ({type(error).__name__}: {first})")
            )
        if not worker.ready:
            worker.ready = result is None
            return Message("ready") if result is None else Message("gone", fault=result)
        value, fault = result
        return Message("answer", value, fault)

    def _check_resources(self, cpus: float, gpus: float) -> None:
        """Warn if no node of the cluster has the resources; an autoscaler may still add one."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            logger.warning(
                "no node of the cluster has the %g CPUs and %g GPUs that a trial asks for; waiting for one "
                "that has. Lower compute.threads or compute.gpus_per_trial if none will come.",
                cpus, gpus,
            )  # fmt: skip


def open_cluster_pool(
    build: Build, arguments: tuple[Any, ...] = (), *, workers: int, cpus: float = 1.0, gpus: float = 0.0
) -> Pool[Worker]:
    """Return a pool of actors on a Ray cluster; see `RayBackend`.

    Raises:
        InputError: If Ray is not installed or does not load.
        StorageError: If the cluster does not answer.
    """
    return Pool(RayBackend(build, arguments, cpus=cpus, gpus=gpus), workers=workers)
