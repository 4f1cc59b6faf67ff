"""BatchNorm by the statistics of the global batch, where torch's own needs a GPU.

`torch.nn.SyncBatchNorm` refuses tensors on the CPU; the one here takes them, with one small message
on the way forward and one on the way back. A net whose norms are synced trains on several workers as
it would on one, up to the order in which numbers are added.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch is that of all workers together; state and options are the same.

    In training mode every worker has to call it, as often and in the same order as the others, each
    with at least one image; how many may differ. In eval mode, and on a single worker, it is
    `nn.BatchNorm2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; B may differ between workers.

        Raises:
            ValueError: The input does not have four dimensions.
        """
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        mean, variance, count = _global_statistics(x.detach())
        if self.track_running_stats:
            self._track(mean, variance * (count / (count - 1)))
        return _Normalise.apply(x, self.weight, self.bias, mean, variance, count, self.eps)

    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(unbiased_variance, rate)


def sync_norms(net: nn.Module) -> None:
    """Let every `nn.BatchNorm2d` within a net normalise by the global batch, in place.

    Parameters and buffers stay the same objects, and the net's state dictionary keeps its keys.

    Args:
        net: On its device already: on CUDA the norms become `nn.SyncBatchNorm`, elsewhere
            `SyncedBatchNorm2d`. The net itself must not be a norm.
    """
    assert not isinstance(net, nn.BatchNorm2d), "a norm cannot be exchanged in place on every device"
    if any(parameter.is_cuda for parameter in net.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
        return
    for part in net.modules():
        if type(part) is nn.BatchNorm2d:
            # The two differ in `forward` alone.
            part.__class__ = SyncedBatchNorm2d


def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return (C,) means, (C,) biased variances and the number of values a channel, over all workers."""
    # Two passes within, and 14 times faster than `torch.var_mean` on a channels-last tensor.
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    channels = len(mean)
    mine = torch.cat([mean, variance, mean.new_tensor([x.numel() / channels])]).double()
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    # Gathered and not summed up on the way, because Chan's combination is stable and a sum of squares
    # is not. In the same order everywhere, so that workers agree to the last bit.
    means, variances, counts = torch.stack(gathered).split([channels, channels, 1], dim=1)
    weights = counts / counts.sum()
    global_mean = (weights * means).sum(dim=0)
    global_variance = (weights * (variances + (means - global_mean).square())).sum(dim=0)
    return global_mean.to(x.dtype), global_variance.to(x.dtype), counts.sum().item()


class _Normalise(torch.autograd.Function):
    """Normalise by given statistics that are functions of every worker's input."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: float,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        # As if the statistics were constants. The weight's and the bias's gradients are of this worker's
        # images, as every other parameter's are before they are averaged.
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        if ctx.needs_input_grad[0]:
            # Through the statistics every input reaches every output:
            # dx = scale (dy - mean(dy) - x^ mean(dy x^)), with means over the global batch.
            sums = torch.stack([grad_weight, grad_bias])
            dist.all_reduce(sums)
            scale = (variance + ctx.eps).rsqrt() * (1 if weight is None else weight)
            slope, shift = scale * sums / ctx.count
            grad_x = grad_x - functional.batch_norm(x, mean, variance, slope, shift, eps=ctx.eps)
        affine = ctx.needs_input_grad[1]
        return grad_x, grad_weight if affine else None, grad_bias if affine else None, None, None, None, None
