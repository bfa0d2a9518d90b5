"""Trials on a Ray cluster of three nodes are those of this machine, also when a node is lost."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankadaptor.config import build_run
from rankadaptor.corpus import Record
from rankadaptor.errors import CheckpointError
from rankadaptor.pipeline.cluster import read_tensors
from rankadaptor.pipeline.execution import Execution, pick_execution
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.runtime import Compute
from rankadaptor.workers import open_cluster_pool, run_jobs
from tests.pipeline.comparing import read_records
from tests.workers.jobs import build_places

STORE = 100 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores for trials, and two nodes, one of which claims a GPU; a test adds a third."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    built = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
    )
    for gpus in (0, 1):
        built.add_node(num_cpus=2, num_gpus=gpus, object_store_memory=STORE)
    ray.init(address=built.address, logging_level="ERROR", log_to_driver=False)
    yield built
    ray.shutdown()
    built.shutdown()


def list_hosts() -> list[str]:
    """Return the node of every worker that is alive."""
    import ray

    # The public list of actors needs the dashboard, which this cluster goes without.
    actors = ray._private.state.actors().values()
    return [actor["Address"]["NodeID"] for actor in actors if actor["State"] == "ALIVE"]


def lose_worker(source: TrialSource, cluster: Any) -> None:
    """End a node that has a worker, and take away the folder that nodes must not need."""
    shutil.rmtree(source.model)
    hosts = list_hosts()
    node = next(node for node in cluster.worker_nodes if node.node_id in hosts)
    cluster.remove_node(node, allow_graceful=False)


def test_trials_share_a_gpu_by_fractions(cluster: Any) -> None:
    with open_cluster_pool(build_places, workers=2, gpus=0.5) as pool:
        found = {job: result for job, result, _ in run_jobs(pool, range(4), arguments=lambda job: (job,))}
    nodes = {node for node, _ in found.values()}
    gpus = {gpu for _, gpu in found.values()}
    assert len(nodes) == 1
    assert gpus == {"0"}


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.soak)])
def test_a_campaign_that_loses_a_node_has_the_records_of_this_machine(
    cluster: Any,
    pico_source: Callable[..., TrialSource],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    source = pico_source(executor="ray", device="cpu", dtype="float32")
    jobs = [Job(allocation, seed, 2) for allocation in source.space.sample(count, seed=0) for seed in (0, 1)]
    here = dataclasses.replace(source, records=tmp_path / "here" / "records.jsonl", execution=Execution())
    with TrialPool(here, workers=1) as pool:
        pool.measure_all(jobs, label="here")
    cluster.add_node(num_cpus=2, object_store_memory=STORE)
    for _ in range(200):  # workers of an earlier test that are about to end have no trial to lose
        if not list_hosts():
            break
        time.sleep(0.1)
    done: list[Record] = []

    def lose_one(record: Record) -> None:
        """Lose a node in the middle, while the driver waits: what is left must go through its loss."""
        done.append(record)
        if len(done) == 3:
            lose_worker(source, cluster)

    with TrialPool(source, workers=3) as pool, caplog.at_level(logging.WARNING):
        pool.measure_all(jobs, label="cluster", on_record=lose_one)
    assert not source.model.exists()
    assert "a worker of the cluster was lost" in caplog.text
    assert read_records(source.records.parent) == read_records(here.records.parent)


def test_a_cluster_s_device_need_not_be_the_driver_s() -> None:
    def pick(driver: str = "cpu", **given: Any) -> Execution:
        config = build_run({"compute": {"executor": "ray", **given}})
        return pick_execution(config, Compute(device=driver, dtype="float32", threads=1, reason="a test"))

    assert (pick().device, pick().gpus_per_trial) == ("cpu", 0.0)
    assert (pick("cuda").device, pick("cuda").gpus_per_trial) == ("cuda", 1.0)
    assert pick(gpus_per_trial=0.25).device == "cuda"
    assert pick(gpus_per_trial=0.25, device="cpu").device == "cpu"
    assert pick("cuda", gpus_per_trial=0.0).device == "cpu"


def test_tensors_are_read_without_a_copy(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    given = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16)}
    content = np.frombuffer(save(given), dtype=np.uint8)
    found = read_tensors(content)
    first = content.__array_interface__["data"][0]
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
        assert first < found[name].data_ptr() < first + content.nbytes
    with pytest.raises(CheckpointError, match="not readable"):
        read_tensors(content[:20])
