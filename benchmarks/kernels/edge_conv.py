"""EdgeConv with the model's own multi-layer MLP, on the model's own neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from panoptag_pyg import ops

from ..compare import Contestant, compare, relative_error
from ..counts import TRAINING, edge_conv_work
from ..peers.pyg import edge_conv_of_pyg
from ..rows import Row
from ..settings import SIZES, Settings
from .common import backends
from .neighbours import features

#: Allowed ‖difference‖ / ‖expected‖ of outputs and of gradients.
TOLERANCE = {
    torch.float64: (1e-10, 1e-9),
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (3e-2, 5e-2),
    torch.float16: (1e-2, 2e-2),
}
#: Lead of a maximum, in deviations of all values, below which rounding may change it.
MARGIN = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}

#: (x [P, D], table [P, k], edge_index [2, P·k]) → [P, width]; each implementation takes the neighbours that it wants.
EdgeConvFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


class Layer(NamedTuple):
    """Weights of an edge MLP: linear layers, and the normalisations between them."""

    linears: list[tuple[Tensor, Tensor]]
    norms: list[tuple[Tensor, Tensor]]

    def flat(self) -> list[Tensor]:
        """All parameters."""
        return [p for pair in (*self.linears, *self.norms) for p in pair]

    def to(self, dtype: torch.dtype) -> Layer:
        """A copy in another dtype that asks for gradients."""
        linears, norms = (
            [tuple(p.detach().to(dtype).requires_grad_() for p in pair) for pair in pairs] for pairs in self
        )
        return Layer(linears, norms)  # type: ignore[arg-type]


def make_layer(dim: int, num_layers: int, device: torch.device, seed: int) -> Layer:
    """As the model draws them."""
    torch.manual_seed(seed)
    widths = [2 * dim, *[dim] * num_layers]
    linears = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    norms = [nn.LayerNorm(dim) for _ in range(num_layers - 1)]
    for norm in norms:  # not ones and zeros, which would hide mistakes
        nn.init.normal_(norm.weight, 1, 0.1)
        nn.init.normal_(norm.bias, 0, 0.1)
    return Layer(
        [(layer.weight.detach().to(device), layer.bias.detach().to(device)) for layer in linears],
        [(norm.weight.detach().to(device), norm.bias.detach().to(device)) for norm in norms],
    )


def edge_conv(settings: Settings, size: str, max_pfos: int | None, name: str, words: str, training: bool) -> list[Row]:
    """Ours against PyG's ``EdgeConv`` with the same MLP on the same edges."""
    options = SIZES[size]
    dim, k, num_layers = options["dim"], options["k"], options["edge_mlp_layers"]
    x, ptr = features(settings, max_pfos, dim)
    x = x.to(settings.dtype)
    table = ops.neighbour_table(x, k, ptr)
    layer = make_layer(dim, num_layers, settings.device, settings.seed).to(settings.dtype)
    centre = torch.arange(len(x), device=x.device).repeat_interleave(k)
    edge_index = torch.stack([table.flatten(), centre])
    pyg = edge_conv_of_pyg(layer.linears, layer.norms)
    x.requires_grad_(training)
    grad_out = torch.randn(len(x), dim, device=x.device, dtype=x.dtype)
    # The check is made on the first events alone: float64 with all edges' features would fill the memory.
    few = int(ptr[min(2, ptr.numel() - 1)])
    check = edge_check(x, table, layer, few, grad_out, training)

    def ours(backend: str) -> EdgeConvFunction:
        return lambda x, table, edge_index: ops.edge_conv(x, table, layer.linears, layer.norms, backend=backend)

    def peer(x: Tensor, table: Tensor, edge_index: Tensor) -> Tensor:
        return pyg(x, edge_index)

    def contestant(
        label: str, function: EdgeConvFunction, parameters: list[Tensor], swapped: bool = False
    ) -> Contestant:
        def run() -> object:
            if not training:
                with torch.no_grad():
                    return function(x, table, edge_index)
            return torch.autograd.grad(function(x, table, edge_index), [x, *parameters], grad_out)

        return Contestant(label, run, lambda: check(function, parameters, swapped))

    widths = [dim] * (num_layers + 1)
    info: dict[str, Any] = {"dtype": x.dtype, "training": training, "k": k, "dim": dim, "widths": tuple(widths[1:])}
    own = [
        contestant(label, ours(backend), layer.flat())
        for backend, label in backends("edge_conv", settings.device, **info)
    ]
    theirs = contestant("PyG EdgeConv", peer, pyg.parameters_like_ours(), swapped=True)
    work = edge_conv_work(len(x), k, widths, x.dtype)
    target = {"PyG EdgeConv": 2.0 if training else 3.0} if size == "paper" and settings.dtype == torch.float32 else {}
    what = f"edge_conv, {num_layers}-layer MLP, d = {dim}, k = {k}, {words}, {step_words(training)}"
    return compare(
        settings, name, what, own, [theirs], work.times(TRAINING) if training else work, target, size=size, budget=6.0
    )


def step_words(training: bool) -> str:
    """``"forward"`` or ``"forward + backward"``."""
    return "forward + backward" if training else "forward"


def edge_check(
    x: Tensor, table: Tensor, layer: Layer, stop: int, grad_out: Tensor, training: bool
) -> Callable[[EdgeConvFunction, list[Tensor], bool], float]:
    """Compares with the float64 reference on the first ``stop`` points: outputs, and all gradients."""
    forward_allowed, backward_allowed = TOLERANCE[x.dtype]
    points, slots = x[:stop].detach(), table[:stop]
    centre = torch.arange(stop, device=x.device).repeat_interleave(table.size(1))
    edge_index = torch.stack([slots.flatten(), centre])
    exact, exact_x = layer.to(torch.float64), points.double().requires_grad_()
    out = ops.edge_conv(exact_x, slots, exact.linears, exact.norms, backend="reference")
    expected = out.detach()
    grad_out = torch.where(is_settled(exact, exact_x, slots, MARGIN[x.dtype]), grad_out[:stop], 0)
    grads = torch.autograd.grad(out, [exact_x, *exact.flat()], grad_out.double()) if training else ()

    def check(function: EdgeConvFunction, parameters: list[Tensor], swapped: bool) -> float:
        own = points.clone().requires_grad_(training)
        result = function(own, slots, edge_index)
        worst = relative_error(result.detach(), expected) / forward_allowed
        if training:
            found = list(torch.autograd.grad(result, [own, *parameters], grad_out))
            if swapped:  # PyG's first weight has its halves the other way round
                found[1] = torch.cat(found[1].chunk(2, dim=1)[::-1], dim=1)
            for gradient, reference in zip(found, grads, strict=True):
                worst = max(worst, relative_error(gradient, reference) / backward_allowed)
        return worst

    return check


@torch.no_grad()
def is_settled(layer: Layer, x: Tensor, table: Tensor, margin: float) -> Tensor:
    """Where the largest of the k edges leads by more than rounding can undo [P, W]; elsewhere the gradient may rightly
    go to another edge."""
    centre = x[:, None].expand(-1, table.size(1), -1)
    h = nn.functional.linear(torch.cat([x[table] - centre, centre], dim=-1), *layer.linears[0])
    for norm, linear in zip(layer.norms, layer.linears[1:], strict=True):
        h = nn.functional.gelu(nn.functional.layer_norm(h, h.shape[-1:], *norm))
        h = nn.functional.linear(h, *linear)
    if table.size(1) < 2:
        return torch.ones_like(h[:, 0], dtype=torch.bool)
    first, second = h.topk(2, dim=1).values.unbind(1)
    return first - second > margin * h.std()
