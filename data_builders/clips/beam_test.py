"""Building with Apache Beam: its own runner, and the job service that Flink and Spark provide, too."""

import os
import pathlib
import sys

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from tests.helpers.build_dataset import build, coverage, shard_bytes
from tests.helpers.paths import ROOT
from tests.helpers.small_clips import SmallClips

pytestmark = pytest.mark.slow


def test_the_direct_runner_writes_the_same_bytes(built, folder, tmp_path):
    beamed = build(SmallClips, "plain", folder, tmp_path, beam_runner="DirectRunner")
    assert shard_bytes(beamed) == shard_bytes(built)
    assert coverage(beamed) == coverage(built)


@pytest.fixture
def job_service(tmp_path):
    """Yield the address of a service that runs pipelines, as those of Flink and Spark do."""
    service = LocalJobServicer(str(tmp_path / "staging"))
    yield f"localhost:{service.start_grpc_server(0)}"
    service.stop()


@pytest.fixture
def worker_pool(monkeypatch):
    """Yield the address of a pool that starts worker processes, as on each machine of a cluster."""
    monkeypatch.setenv("PATH", f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir("/")
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    yield address
    server.stop(0)


def test_workers_of_a_job_service_write_the_same_bytes(built, folder, tmp_path, job_service, worker_pool):
    options = PipelineOptions(
        runner="PortableRunner", job_endpoint=job_service, environment_type="EXTERNAL", environment_config=worker_pool
    )
    beamed = build(SmallClips, "plain", folder, tmp_path, beam_options=options)
    assert shard_bytes(beamed) == shard_bytes(built)
    assert coverage(beamed) == coverage(built)
