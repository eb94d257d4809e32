"""Gradients of a plain differentiable function inside a custom operation, whose kernels run below autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

_AUTOGRAD_KEYS = ("AutogradCPU", "AutogradCUDA", "AutogradOther", "AutogradXPU", "AutogradMPS", "ADInplaceOrView")


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_out: Tensor) -> list[Tensor]:
    """Call ``function(*inputs)`` once more under autograd, and pull ``grad_out`` back to every input.

    Args:
        function: differentiable, of tensors only.
        inputs: where to; an input that doesn't enter gets zeros.
        grad_out: gradient of its result.
    """
    with torch.enable_grad(), _above_autograd():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        out = function(*leaves)
        if not out.requires_grad:
            return [torch.zeros_like(leaf) for leaf in leaves]
        grads = torch.autograd.grad(out, leaves, grad_out, allow_unused=True, materialize_grads=True)
    # Autograd may give one tensor, or a view of one, to several inputs; a custom operation must not.
    return [grad.clone(memory_format=torch.contiguous_format) for grad in grads]


def _above_autograd() -> AbstractContextManager[Any]:
    """Undo what the dispatcher does around a custom operation's kernel: it leaves out autograd."""
    exclude = torch._C._dispatch_tls_local_exclude_set()
    for key in _AUTOGRAD_KEYS:
        exclude = exclude.remove(getattr(torch._C.DispatchKey, key))
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), exclude)
