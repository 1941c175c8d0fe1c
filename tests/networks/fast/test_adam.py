"""Adam over weights as they lie in memory, against PyTorch's own."""

import copy

import torch

from shiftlab.networks.fast.adam import MemoryOrderAdam


def test_adam_in_memory_order_takes_the_steps_of_adam_however_weights_lie() -> None:
    torch.manual_seed(0)
    whole = torch.rand(6, 4, 3, 3).to(memory_format=torch.channels_last)
    initial = [torch.rand(6, 4), torch.rand(4, 6).T, whole, torch.rand(6, 4, 3, 3)[:, :, 1:2, 1:], torch.rand(5)]
    ours, plain = (
        [weight.detach().requires_grad_() for weight in weights] for weights in (initial, copy.deepcopy(initial))
    )
    optimizers = MemoryOrderAdam(ours, lr=0.1), torch.optim.Adam(plain, lr=0.1)
    for _ in range(3):
        directions = [torch.randn(weight.shape) for weight in initial]  # as rows, whatever the weights' order is
        for weights, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            for weight, direction in zip(weights[:-1], directions, strict=False):  # the last one has no gradient
                assert weight.grad is None
                weight.grad = direction.clone()
            optimizer.step()
    for weight, expected in zip(ours, plain, strict=True):
        assert torch.allclose(weight, expected, rtol=0, atol=1e-6), weight.shape
    assert torch.equal(ours[-1], initial[-1])
    assert optimizers[0].param_groups[0]["params"][2].data_ptr() == whole.data_ptr()  # and copies nothing that is whole
