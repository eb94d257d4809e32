"""Multi-head attention between two sets of an event, with a bias and further values for every pair.

A backend is a pair of functions on plain, contiguous tensors of one dtype; each ``ptr`` is int64::

    forward(q [Q, H, d], k [P, H, d], v [P, H, d], bias [E, H], r [E, R], q_ptr, k_ptr) → y, mixed, weight
    backward(grad_y, grad_mixed, q, k, v, r, weight, q_ptr, k_ptr) → grad_q, grad_k, grad_v, grad_bias, grad_r

with ``y`` [Q, H, d], ``mixed`` [Q, H, R] and ``weight`` [E, H]; pairs are sorted by query, then key. A backend without
``backward`` is one differentiable function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from panoptag_pyg.ops.ragged import complete_edges
from panoptag_pyg.ops.recompute import gradients
from panoptag_pyg.ops.registry import choose, get, register_backend
from panoptag_pyg.ops.segment import segment_sum


def relation_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    r: Tensor,
    q_ptr: Tensor,
    k_ptr: Tensor,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Scaled dot-product attention within each event, with a bias on each score and values of the pair itself.

    .. math::
        a_{ij} = \mathrm{softmax}_j \big(q_i \cdot k_j / \sqrt{d_h} + b_{ij}\big), \qquad
        y_i = \sum_j a_{ij} v_j, \qquad m_i = \sum_j a_{ij} r_{ij}

    A linear map of r as part of the values is the same map of m, :math:`\sum_j a_{ij} W r_{ij} = W m_i`: so
    relation-aware attention needs no value for each pair and head. A pair with a bias of −∞ counts as absent; a query
    without keys, or all of whose keys are absent, gets 0.

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: of each pair, sorted by query, then key.
        r: what the pair itself says.
        q_ptr: first query of each event.
        k_ptr: first key of each event.
        backend: ``"auto"`` (default), or a name of ``ops.available("relation_attention")``.

    Shapes:
        q [Q, H, d], k, v [P, H, d], bias [E, H], r [E, R], ptr [B+1] → y [Q, H, d], m [Q, H, R], weights [E, H], which
        carry no gradient. Everything runs in float32, or float64 for float64.

    Raises:
        ValueError: for shapes that don't fit.
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.

    Source: Shaw, Uszkoreit, Vaswani, *Self-Attention with Relative Position Representations*, arXiv:1803.02155, eq. 3;
    the bias is that of Qu, Li, Qian, arXiv:2202.03772, eq. 4.
    """
    if q.dim() != 3 or k.shape != v.shape or q.shape[1:] != k.shape[1:] or bias.dim() != 2 or r.dim() != 2:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (q, k, v, bias, r))
        raise ValueError(f"q must be [Q, H, d], k and v [P, H, d], bias [E, H] and r [E, R], got {shapes}")
    dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
    q, k, v, bias, r = (tensor.to(dtype) for tensor in (q, k, v, bias, r))
    name = choose("relation_attention", backend, q.device.type, dtype=dtype, num_heads=q.size(1), dim=q.size(2))
    y, mixed, weight = _relation_attention(q, k, v, bias, r, q_ptr, k_ptr, name)
    return y, mixed, weight.detach()


@torch.library.custom_op("panoptag_pyg::relation_attention", mutates_args=())
def _relation_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    _check_pairs(bias, r, q_ptr, k_ptr)
    with torch.autocast(q.device.type, enabled=False):
        return get("relation_attention", backend).function(*_prepared(q, k, v, bias, r, q_ptr, k_ptr))


@_relation_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    mixed = q.new_empty(q.size(0), q.size(1), r.size(1))
    return q.new_empty(q.shape), mixed, bias.new_empty(bias.shape)


@torch.library.custom_op("panoptag_pyg::relation_attention_backward", mutates_args=())
def _relation_attention_backward(
    grad_y: Tensor,
    grad_mixed: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    r: Tensor,
    weight: Tensor,
    q_ptr: Tensor,
    k_ptr: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    implementation = get("relation_attention", backend)
    q, k, v, bias, r, q_ptr, k_ptr = _prepared(q, k, v, bias, r, q_ptr, k_ptr)
    with torch.autocast(q.device.type, enabled=False):
        if implementation.backward is not None:
            grads = (grad_y.contiguous(), grad_mixed.contiguous())
            return implementation.backward(*grads, q, k, v, r, weight, q_ptr, k_ptr)

        def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor) -> Tensor:
            y, mixed, _ = implementation.function(q, k, v, bias, r, q_ptr, k_ptr)
            return (y * grad_y).sum() + (mixed * grad_mixed).sum()

        found = gradients(forward, [q, k, v, bias, r], q.new_ones(()))
        return found[0], found[1], found[2], found[3], found[4]


@_relation_attention_backward.register_fake
def _(
    grad_y: Tensor, grad_mixed: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_q, grad_k, grad_v, grad_bias, grad_r = (x.new_empty(x.shape) for x in (q, k, v, bias, r))
    return grad_q, grad_k, grad_v, grad_bias, grad_r


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    q, k, v, bias, r, q_ptr, k_ptr, ctx.backend = inputs
    ctx.save_for_backward(q, k, v, bias, r, output[2], q_ptr, k_ptr)


def _backward(ctx, grad_y, grad_mixed, _):  # type: ignore[no-untyped-def]
    return *_relation_attention_backward(grad_y, grad_mixed, *ctx.saved_tensors, ctx.backend), None, None, None


_relation_attention.register_autograd(_backward, setup_context=_setup)


def _prepared(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    q, k, v, bias, r = (tensor.contiguous() for tensor in (q, k, v, bias, r))
    return q, k, v, bias, r, q_ptr.long().contiguous(), k_ptr.long().contiguous()


def _check_pairs(bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor) -> None:
    if q_ptr.device.type != "cpu":
        return
    wanted = int((q_ptr.diff() * k_ptr.diff()).sum())
    if len(bias) != wanted or len(r) != wanted:
        raise ValueError(
            f"bias and r must have a row for each of the {wanted} pairs of a query and a key of the same event, "
            f"got {len(bias)} and {len(r)}"
        )


def reference(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Segment softmax over all pairs: written to be read."""
    query, key = complete_edges(q_ptr, k_ptr)
    score = (q[query] * k[key]).sum(-1) / math.sqrt(q.size(-1)) + bias
    largest = score.new_full((len(q), q.size(1)), -math.inf)
    largest = largest.scatter_reduce(0, query[:, None].expand_as(score), score.detach(), "amax")
    exponential = (score - _finite(largest)[query]).exp()
    total = segment_sum(exponential, query, len(q))
    weight = exponential / torch.where(total > 0, total, 1.0)[query]
    y = segment_sum(weight[..., None] * v[key], query, len(q))
    return y, segment_sum(weight[..., None] * r[:, None], query, len(q)), weight


def loop(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One event after the other: a CPU's calls cost less than padding would."""
    y, weight = torch.zeros_like(q), torch.empty_like(bias)
    mixed = q.new_zeros(len(q), q.size(1), r.size(1))
    scale = 1 / math.sqrt(q.size(2))
    for queries, keys, pairs, shape in _events(q_ptr, k_ptr):
        score = torch.einsum("ihd,jhd->ijh", q[queries] * scale, k[keys]) + bias[pairs].view(*shape, -1)
        score = (score - _finite(score.amax(1, keepdim=True))).exp_()
        total = score.sum(1, keepdim=True)
        a = score.div_(torch.where(total > 0, total, 1.0))
        weight[pairs] = a.flatten(0, 1)
        y[queries] = torch.einsum("ijh,jhd->ihd", a, v[keys])
        torch.bmm(a.mT, r[pairs].view(*shape, -1), out=mixed[queries])
    return y, mixed, weight


def loop_backward(
    grad_y: Tensor,
    grad_mixed: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    r: Tensor,
    weight: Tensor,
    q_ptr: Tensor,
    k_ptr: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of :func:`loop`."""
    grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    grad_bias, grad_r = torch.empty_like(weight), torch.empty_like(r)
    scale = 1 / math.sqrt(q.size(2))
    for queries, keys, pairs, shape in _events(q_ptr, k_ptr):
        a, g, m = weight[pairs].view(*shape, -1), grad_y[queries], grad_mixed[queries]
        grad_v[keys] = torch.einsum("ijh,ihd->jhd", a, g)
        torch.bmm(a, m, out=grad_r[pairs].view(*shape, -1))
        grad = torch.einsum("ihd,jhd->ijh", g, v[keys]) + torch.bmm(r[pairs].view(*shape, -1), m.mT)
        grad = grad.mul_(a)
        grad = grad.sub_(a * grad.sum(1, keepdim=True))
        grad_bias[pairs] = grad.flatten(0, 1)
        grad_q[queries] = torch.einsum("ijh,jhd->ihd", grad, k[keys]) * scale
        grad_k[keys] = torch.einsum("ijh,ihd->jhd", grad, q[queries]) * scale
    return grad_q, grad_k, grad_v, grad_bias, grad_r


def padded(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, r: Tensor, q_ptr: Tensor, k_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pad every event to the largest and mask: few launches, for GPUs."""
    if len(q) == 0 or len(bias) == 0:
        nothing = (q.sum() + k.sum() + v.sum() + bias.sum() + r.sum()) * 0
        return torch.zeros_like(q) + nothing, q.new_zeros(len(q), q.size(1), r.size(1)) + nothing, bias.clone()
    query_slot, key_slot = _slots(q_ptr, len(q)), _slots(k_ptr, len(k))
    most = torch.stack([q_ptr.diff(), k_ptr.diff()]).amax(1).tolist()
    query, key = complete_edges(q_ptr, k_ptr)
    shape = (q_ptr.numel() - 1, *most)
    pair = (query_slot[0][query], query_slot[1][query], key_slot[1][key])

    def dense(x: Tensor, slot: tuple[Tensor, Tensor], length: int) -> Tensor:
        return x.new_zeros(shape[0], length, *x.shape[1:]).index_put(slot, x)

    mask = bias.new_full((*shape, bias.size(1)), -math.inf).index_put(pair, bias)
    queries, keys, values = dense(q, query_slot, most[0]), dense(k, key_slot, most[1]), dense(v, key_slot, most[1])
    score = torch.einsum("bihd,bjhd->bijh", queries / math.sqrt(q.size(2)), keys) + mask
    score = (score - _finite(score.detach().amax(2, keepdim=True))).exp()
    total = score.sum(2, keepdim=True)
    a = score / torch.where(total > 0, total, 1.0)
    further = r.new_zeros(*shape, r.size(1)).index_put(pair, r)
    y, mixed = torch.einsum("bijh,bjhd->bihd", a, values), a.mT @ further
    return y[query_slot], mixed[query_slot], a[pair]


def _slots(ptr: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Event of each row, and its place there."""
    event = torch.repeat_interleave(torch.arange(ptr.numel() - 1, device=ptr.device), ptr.diff(), output_size=num_rows)
    return event, torch.arange(num_rows, device=ptr.device) - ptr[event]


def _events(q_ptr: Tensor, k_ptr: Tensor):  # type: ignore[no-untyped-def]
    """Queries, keys and pairs of each event that has both, as slices, and how many queries and keys."""
    first = 0
    q_starts, k_starts = q_ptr.tolist(), k_ptr.tolist()
    for event in range(len(q_starts) - 1):
        queries, keys = slice(*q_starts[event : event + 2]), slice(*k_starts[event : event + 2])
        shape = (queries.stop - queries.start, keys.stop - keys.start)
        if shape[0] and shape[1]:
            yield queries, keys, slice(first, first + shape[0] * shape[1]), shape
        first += shape[0] * shape[1]


def _finite(largest: Tensor) -> Tensor:
    """The maximum to subtract; 0 where there is none."""
    return torch.where(largest == -math.inf, 0.0, largest)


register_backend("relation_attention", "reference", reference)
register_backend("relation_attention", "padded", padded, devices=("cuda",))
register_backend("relation_attention", "torch", loop, backward=loop_backward, devices=("cpu",))
