"""Kernels that add up in the same order on every x86 processor and with any number of threads: `determinism: portable`.

PyTorch takes matrix products from MKL, which adds up in another order on AMD's processors than on Intel's, and in
another with more threads. oneDNN's, held to AVX2, add up each element in the order of its terms. What else depends on
the number of threads is computed with one: the statistics of batch normalisation, and the gradient of a convolution's
weight, in parts of the batch at the same time where that pays. docs/verify.md has what was measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.library import Library, get_kernel

PARTS = 2  # of a batch: so many threads can work at the gradient of a convolution's weight
# Multiplications from which a second thread pays: for a gradient, which is in parts then, and for a product.
LARGE_GRADIENT, LARGE_PRODUCT = 10_000_000, 4_000_000

multiply = torch.ops.mkldnn._linear_pointwise.default
convolution = torch.ops.aten.convolution.default
convolution_backward = torch.ops.aten.convolution_backward.default
own_convolution = get_kernel("aten::convolution", "AutogradCPU")
below_autograd = torch._C._AutoDispatchBelowAutograd


@functools.cache
def install() -> None:
    """Replace PyTorch's kernels in this process, for what is computed on the CPU in float32."""
    library = _library()
    library.impl("convolution", _convolution, "AutogradCPU", with_keyset=True)
    library.impl("mm", functools.partial(_mm, _original("mm")), "CPU")
    library.impl("addmm", functools.partial(_addmm, _original("addmm")), "CPU")
    for name in ("native_batch_norm", "native_batch_norm_backward"):
        library.impl(name, functools.partial(_with_threads, 1, _original(name)), "CPU")


@functools.cache
def _library() -> Library:
    return Library("aten", "IMPL")  # a replacement ends with it


def _original(name: str) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    return functools.partial(get_kernel(f"aten::{name}", "CPU").call_boxed, keys)


def _mm(original: Callable[..., Any], first: Tensor, second: Tensor) -> Any:
    if first.dtype is not torch.float32 or not first.numel() or not second.numel():
        return original(first, second)
    return _product(first, second, None)


def _addmm(
    original: Callable[..., Any], bias: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    if first.dtype is not torch.float32 or not first.numel() or not second.numel():
        return original(bias, first, second, beta=beta, alpha=alpha)
    if beta == alpha == 1 and bias.shape == second.shape[1:]:
        return _product(first, second, bias)
    return beta * bias + alpha * _product(first, second, None)


def _product(first: Tensor, second: Tensor, bias: Tensor | None) -> Any:
    """Multiply float32 matrices `(N, K)` and `(K, M)`, and add a vector `(M,)`.

    Each element is the sum of its products in order, each product added without rounding it first (FMA); where there
    are more than 1,024, that of every 1,024, added in order.
    """
    rows, inner = first.shape
    columns = second.shape[1]
    # A vector has kernels of its own, whose order depends on the layout.
    if rows == 1:
        return _product(first.repeat(2, 1), second, bias)[:1]
    if columns == 1:
        return _product(first, second.repeat(1, 2), None if bias is None else bias.repeat(2))[:, :1]
    weight = second.t()
    across, down = weight.stride()
    if min(across, down) > 1 or max(across, down) > max(weight.shape):
        weight = weight.contiguous()  # there is no fast kernel for one with gaps
    if rows * inner * columns < LARGE_PRODUCT:
        return _with_threads(1, multiply, first, weight, bias, "none", [], "")
    return multiply(first, weight, bias, "none", [], "")


def _convolution(keys: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Any:
    if weight.requires_grad and images.dtype is torch.float32 and torch.is_grad_enabled():
        return _Convolution.apply(images, weight, bias, *geometry)
    return own_convolution.call_boxed(keys, images, weight, bias, *geometry)


class _Convolution(torch.autograd.Function):
    """A convolution, with a gradient of its weight that does not depend on the number of threads."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Any:
        ctx.save_for_backward(images, weight)
        ctx.geometry = (None if bias is None else [len(bias)], *geometry)
        with below_autograd():
            return convolution(images, weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        images, weight = ctx.saved_tensors
        of_images, *of_weights = ctx.needs_input_grad[:3]
        large = gradient.numel() * weight[0].numel() > LARGE_GRADIENT
        parts = zip(gradient.chunk(PARTS), images.chunk(PARTS), strict=True) if large else [(gradient, images)]
        settings = (weight, *ctx.geometry, [False, *of_weights])
        (_, *sums), *others = _in_parallel([functools.partial(_gradients, *part, *settings) for part in parts])
        for other in others:
            for total, addend in zip(sums, other[1:], strict=True):
                if total is not None:
                    total += addend
        settings = (weight, *ctx.geometry, [True, False, False])
        of_input = _gradients(gradient, images, *settings)[0] if of_images else None
        return (of_input, *sums, *[None] * (len(ctx.geometry) - 1))


def _gradients(*arguments: Any) -> Any:
    with below_autograd():
        return convolution_backward(*arguments)


def _in_parallel(jobs: list[Callable[[], Any]]) -> Any:
    """Return what the jobs return, each computed with one thread."""
    if torch.get_num_threads() == 1:
        return [job() for job in jobs]
    others = [_pool().submit(job) for job in jobs[1:]]
    return _with_threads(1, lambda: [jobs[0](), *(other.result() for other in others)])


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARTS - 1, initializer=torch.set_num_threads, initargs=(1,))


def _with_threads(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    before = torch.get_num_threads()
    if before == threads:
        return function(*arguments)
    torch.set_num_threads(threads)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)
