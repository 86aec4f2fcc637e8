"""The same call goes to a dask cluster unchanged."""

import pytest

from hrviz.errors import HrvizError
from hrviz.image import open_image
from hrviz.method import METHODS
from hrviz.run import Job

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    from hrviz.cluster import Cluster

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as local:
        remote = Cluster(local.scheduler_address)
        yield remote
        remote.client.close()


def _job(cluster, **params):
    view = open_image("scene:tissue?size=700x500").view()
    method = METHODS.find("uniform-downsampling")
    job = Job(method, method.bind({"task": "none", "size": 128} | params), view.box)
    runs = []
    cluster.submit(job, view, None, runs.append)
    assert job.wait(60)
    return job, runs


def test_steps_and_cost_come_back(cluster):
    job, runs = _job(cluster)
    assert job.error is None and runs == [job.run]
    assert job.run["downsampled"].array.shape == (91, 128, 3)
    assert job.run.cost["pixels_read"].value > 0


def test_an_error_is_one_sentence(cluster):
    view = open_image("scene:tissue?size=700x500").view()
    method = METHODS.find("saliency-sampler")
    job = Job(method, method.bind({"task": "none", "saliency": "drawn"}), view.box)
    cluster.submit(job, view, None, lambda run: None)
    assert job.wait(60) and job.run is None
    assert job.error.startswith("nothing is drawn")


def test_nobody_there():
    from hrviz.cluster import Cluster

    with pytest.raises(HrvizError, match="no dask scheduler answers"):
        Cluster("tcp://127.0.0.1:9")
