"""Ragged attention in its three roles: inducing points → set, set → inducing points, jets → set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from panoptag_pyg import ops

from ..compare import Contestant, compare, relative_error
from ..counts import TRAINING, attention_work
from ..peers.dense import padded_attention, padding
from ..rows import Row
from ..settings import SIZES, Settings
from .common import backends
from .edge_conv import step_words

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 1e-2}
#: Role → what is told, and what ours must reach against padded SDPA.
ROLES = {"gather": ("inducing → set", 2.5), "spread": ("set → inducing", 1.8), "decode": ("jets → set", 1.0)}


class Inputs(NamedTuple):
    """Queries, keys and values of one role; ``q_ptr`` is ``None`` where all events share the queries."""

    q: Tensor
    k: Tensor
    v: Tensor
    q_ptr: Tensor | None
    k_ptr: Tensor
    max_q: int
    max_k: int

    def head_of(self, num_events: int, dtype: torch.dtype) -> Inputs:
        """The first events alone, detached."""
        k_ptr = self.k_ptr[: num_events + 1]
        q_ptr = None if self.q_ptr is None else self.q_ptr[: num_events + 1]
        q = self.q if q_ptr is None else self.q[: int(q_ptr[-1])]
        keys = slice(0, int(k_ptr[-1]))
        q, k, v = (t.detach().to(dtype).requires_grad_() for t in (q, self.k[keys], self.v[keys]))
        return Inputs(q, k, v, q_ptr, k_ptr, self.max_q, self.max_k)


def role_inputs(settings: Settings, role: str, size: str, max_pfos: int | None) -> Inputs:
    """Random vectors of the events' real lengths; keys and values are halves of one product, as in the model."""
    options = SIZES[size]
    heads, width = options["num_heads"], options["dim"] // options["num_heads"]
    block = settings.block(settings.num_events, max_pfos)
    pfo_ptr, jet_ptr = torch.from_numpy(block.pfo_offsets), torch.from_numpy(block.jet_offsets)
    num_inducing = options["num_inducing"]
    inducing_ptr = torch.arange(len(pfo_ptr)) * num_inducing
    q_ptr, k_ptr = {"gather": (None, pfo_ptr), "spread": (pfo_ptr, inducing_ptr), "decode": (jet_ptr, pfo_ptr)}[role]
    generator = torch.Generator().manual_seed(settings.seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(settings.device, settings.dtype)

    q = draw(num_inducing if q_ptr is None else int(q_ptr[-1]), heads, width)
    both = draw(int(k_ptr[-1]), 2, heads, width)
    max_q = num_inducing if q_ptr is None else int(q_ptr.diff().max())
    q_ptr = None if q_ptr is None else q_ptr.to(settings.device)
    return Inputs(
        q, both[:, 0], both[:, 1], q_ptr, k_ptr.to(settings.device), max_q, int(k_ptr.diff().max())
    )  # fmt: skip


def attention(
    settings: Settings, role: str, size: str, max_pfos: int | None, name: str, words: str, training: bool
) -> list[Row]:
    """Ours against SDPA on tensors that are padded already, as they would stay in a padded model.

    Masks go to the peer only where keys are padded: not for set → inducing, where every key is real.
    """
    data = role_inputs(settings, role, size, max_pfos)
    shared = data.q_ptr is None
    grad_out = torch.randn(
        (len(data.k_ptr) - 1) * len(data.q) if shared else len(data.q), *data.q.shape[1:],
        device=data.q.device, dtype=data.q.dtype,
    )  # fmt: skip
    check = attention_check(data, training)

    def with_gradients(inputs: Inputs) -> Inputs:
        return inputs._replace(**{name: getattr(inputs, name).detach().requires_grad_(training) for name in "qkv"})

    # Halves of one product stay halves: detach keeps the strides.
    ready = with_gradients(data)

    def step(inputs: Inputs, call: Callable[[Inputs], Tensor], grad: Tensor) -> Callable[[], object]:
        def run() -> object:
            if not training:
                with torch.no_grad():
                    return call(inputs)
            return torch.autograd.grad(call(inputs), [inputs.q, inputs.k, inputs.v], grad)

        return run

    def ours(backend: str) -> Callable[[Inputs], Tensor]:
        return lambda i: ops.ragged_attention(i.q, i.k, i.v, i.q_ptr, i.k_ptr, i.max_q, i.max_k, backend=backend)

    heads, width = data.q.shape[1:]
    info: dict[str, Any] = {
        "dtype": data.q.dtype,
        "training": training,
        "num_heads": heads,
        "dim": width,
        "shared": shared,
    }
    own = [
        Contestant(label, step(ready, ours(backend), grad_out), lambda call=ours(backend): check(call))  # type: ignore[misc]
        for backend, label in backends("ragged_attention", settings.device, ("padded",), **info)
    ]
    padded = with_gradients(pad_inputs(data))
    padded_grad = torch.randn(
        len(data.k_ptr) - 1, padded.q.size(1), *data.q.shape[1:], device=data.q.device, dtype=data.q.dtype
    )
    mask = padding(data.k_ptr)[1] if role != "spread" else None
    if mask is not None and bool(mask.all()):
        mask = None

    def dense(inputs: Inputs) -> Tensor:
        q = inputs.q.expand(len(inputs.k), *inputs.q.shape[1:]) if shared else inputs.q
        return padded_attention(q, inputs.k, inputs.v, mask)

    peer = Contestant("padded SDPA", step(padded, dense, padded_grad), lambda: check(padded_as_ragged))
    k_lengths = data.k_ptr.diff()
    q_lengths = torch.full_like(k_lengths, len(data.q)) if data.q_ptr is None else data.q_ptr.diff()
    work = attention_work(q_lengths, k_lengths, data.q[0].numel(), data.q.dtype, shared)
    told, target = ROLES[role]
    wanted = {"padded SDPA": target} if size == "paper" and not training and settings.dtype == torch.float32 else {}
    what = f"attention, {told}, {heads} heads of {width}, {words}, {step_words(training)}"
    return compare(settings, name, what, own, [peer], work.times(TRAINING) if training else work, wanted, size=size)


def pad_inputs(data: Inputs) -> Inputs:
    """The same, padded: q [B, M, H, d] ([1, M, H, d] if shared), k and v [B, N, H, d]."""
    rows, real = padding(data.k_ptr)
    keys, values = (torch.where(real[..., None, None], t[rows], 0) for t in (data.k, data.v))
    if data.q_ptr is None:
        return data._replace(q=data.q[None], k=keys, v=values)
    return data._replace(q=data.q[padding(data.q_ptr)[0]], k=keys, v=values)


def padded_as_ragged(data: Inputs) -> Tensor:
    """Padded SDPA with ragged inputs and outputs, for the check."""
    padded = pad_inputs(data)
    mask = padding(data.k_ptr)[1]
    empty = ~mask.any(1)
    mask = mask | empty[:, None]
    q = padded.q.expand(len(padded.k), *padded.q.shape[1:])
    out = torch.where(empty[:, None, None, None], 0, padded_attention(q, padded.k, padded.v, mask))
    return out.flatten(0, 1) if data.q_ptr is None else out[padding(data.q_ptr)[1]]


def attention_check(data: Inputs, training: bool) -> Callable[[Callable[[Inputs], Tensor]], float]:
    """Compares with the float64 reference on the first events: outputs, and the gradients of q, k, v."""
    few = min(len(data.k_ptr) - 1, 4)
    allowed = TOLERANCE[data.q.dtype]
    exact, own = data.head_of(few, torch.float64), data.head_of(few, data.q.dtype)
    expected = ops.ragged_attention(*exact, backend="reference")
    grad_out = torch.randn_like(expected)
    grads = torch.autograd.grad(expected, exact[:3], grad_out) if training else ()

    def check(call: Callable[[Inputs], Tensor]) -> float:
        result = call(own)
        worst = relative_error(result.detach(), expected.detach())
        if training:
            found = torch.autograd.grad(result, own[:3], grad_out.to(result.dtype))
            worst = max(worst, *(relative_error(a, b) for a, b in zip(found, grads, strict=True)))
        return worst / allowed

    return check
