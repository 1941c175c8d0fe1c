"""Forward passes on the nodes of Ray: those of this machine."""

from functools import partial

import pytest
import torch

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

from shiftlab.config.params import Evaluation
from shiftlab.distributed.executor import ray_executor
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks.fast import fuse
from shiftlab.shifts import inference, predictions, protocol
from shiftlab.shifts.protocol import predict_evaluation
from tests.helpers import dataset

EVALUATION = Evaluation(radius=3, boundaries=["zero"], images="all", shifts=16, phase=2, seed=0)


def test_nodes_predict_the_same_bytes_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MOST_IN_TASK", 25)
    data, cpu = dataset(60, test=100), torch.device("cpu")
    torch.manual_seed(0)
    model = architectures.build("lenet", data.shape, len(data.classes)).eval()
    images, labels = inference.InMemory(data.test.images, data.frame), data.test.labels.numpy()
    metadata = protocol.metadata("digits", "", data, model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = predict_evaluation(images, labels, metadata, EVALUATION, inference.local(fuse(model, data.shape)))
    finally:
        torch.set_num_threads(threads)
    counts: list[int] = []
    with ray_executor("local", partial(fuse, model, data.shape), cpu, 1, "native", cores=2) as execute:
        there = predict_evaluation(images, labels, metadata, EVALUATION, execute, on_progress=counts.append)
    assert sum(counts) > 0
    for name, array in predictions.to_arrays(here).items():
        assert array.tobytes() == predictions.to_arrays(there)[name].tobytes(), name


def test_more_threads_than_any_node_has_are_refused() -> None:
    executor = ray_executor("local", partial(fuse), torch.device("cpu"), 3, "native", cores=2)
    with pytest.raises(UserError, match="no node has 3 cores"), executor:
        pass
