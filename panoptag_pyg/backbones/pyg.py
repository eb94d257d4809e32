"""Any convolution or model of PyTorch Geometric as an event encoder: ``pyg:GATv2Conv``, ``pyg:GPSConv``, …"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.backbones.pyg_layers import (
    LayerSpec,
    Surroundings,
    build_layer,
    find_class,
    is_model,
    keywords_of,
)
from panoptag_pyg.backbones.registry import BackboneConfig, BackboneInfo, register_backbone_family
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.nn import MLP

GRAPHS = ("knn", "radius", "full")
#: PFOs of a typical event, and the area in (η, φ) that they fill: |η| < 4.
TYPICAL_PFOS, TYPICAL_AREA = 300, 16 * math.pi
#: Smallest ΔR whose logarithm is taken.
MIN_DELTA_R = 1e-3


class PyGConfig(BackboneConfig):
    """Options of PyG's layers."""

    num_layers: int = Field(3, ge=1, description="layers")
    graph: Literal["knn", "radius", "full"] = Field("knn", description="knn, radius or full")
    k: int = Field(8, ge=1, description="neighbours in (eta, phi), for graph = knn")
    radius: float = Field(0.4, gt=0, description="largest ΔR of an edge, for graph = radius")
    wrap_phi: bool = Field(True, description="measure distances with Δφ wrapped to [-π, π]")
    edge_features: bool = Field(True, description="give Δη, Δφ, ln ΔR and a weight to layers that take them")
    residual: bool = Field(True, description="add each layer's input to its output")
    norm: bool = Field(True, description="layer normalisation before each layer")
    arguments: dict[str, Any] = Field(default_factory=dict, description="constructor arguments of the PyG class")


class PyGBackbone(nn.Module):
    r"""PyG's layers on a graph of each event.

    .. math:: x^0 = \mathrm{MLP}(f), \qquad x^{l+1} = x^l + \mathrm{GELU}\big(\mathrm{layer}_l(\mathrm{LN}(x^l), E)\big)

    Widths, and whatever else a layer's constructor needs and can be told, are filled in: ``out_channels`` is shared by
    joined heads; ``nn`` is an MLP; ``deg`` of PNAConv is the graph's typical degree; ``conv`` of GPSConv is a GINEConv
    unless another is named. Its forward is given what it asks for of: edge_index, edge_attr (Δη, Δφ, ln ΔR),
    edge_weight (exp(−ΔR)), pos (η, cos φ, sin φ), batch, x_0. A model such as GraphSAGE is a stack already and is made
    once, with ``num_layers``. A layer of another width than ``dim`` is followed by a linear one.

    Args:
        in_dim: number of PFO features.
        dim: width. Default 256.
        layers: name of a class in ``torch_geometric.nn``, or modules called as ``layer(x, edge_index)``.
        num_layers: layers of a name. Default 3.
        graph: ``"knn"`` (default) in (η, φ), ``"radius"`` or ``"full"``: all pairs of an event.
        k: neighbours of each PFO. Default 8.
        radius: largest ΔR of an edge. Default 0.4.
        wrap_phi: wrap Δφ. Default ``True``.
        edge_features: give edge features and weights to layers that take them. Default ``True``.
        residual: add each layer's input to its output. Default ``True``.
        norm: layer normalisation before each layer. Default ``True``.
        arguments: the class's own constructor arguments, such as ``{"heads": 4}``; an inner ``conv`` by its name or as
            ``{"name": "GATv2Conv", "heads": 4}``, an ``nn`` by its widths.

    Shapes:
        x [P, in_dim], pos [P, 2] (eta, phi), ptr [B+1] → [P, dim].

    Raises:
        ConfigError: for an unknown class, graph or argument, with the nearest; or one that the layer needs and that
            can't be given, by name.

    Example:
        >>> PyGBackbone(14, 64, "GATv2Conv", arguments={"heads": 4})
        >>> PyGBackbone(14, 64, [GATv2Conv(64, 16, heads=4) for _ in range(3)])
    """

    def __init__(
        self,
        in_dim: int,
        dim: int = 256,
        layers: str | Iterable[nn.Module] = "GATv2Conv",
        num_layers: int = 3,
        graph: str = "knn",
        k: int = 8,
        radius: float = 0.4,
        wrap_phi: bool = True,
        edge_features: bool = True,
        residual: bool = True,
        norm: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if graph not in GRAPHS:
            raise ConfigError(f"there is no graph '{graph}'{suggest(graph, GRAPHS)}")
        self.in_dim, self.out_dim = in_dim, dim
        self.graph, self.k, self.radius = graph, k, radius
        self.metric = "wrapped_phi" if wrap_phi else "euclidean"
        self.residual = residual
        if isinstance(layers, str):
            spec = LayerSpec(layers, dim, num_layers, self._degree(), edge_features, arguments or {})
            layers = [build_layer(spec) for _ in range(1 if is_model(find_class(layers)) else num_layers)]
        self.embed = MLP([in_dim, dim, dim])
        self.layers = nn.ModuleList(layers)
        self.keywords = [keywords_of(layer, edge_features) for layer in self.layers]
        self.norms = nn.ModuleList(nn.LayerNorm(dim) if norm else nn.Identity() for _ in self.layers)
        widths = self._widths()
        self.projections = nn.ModuleList(nn.Identity() if w == dim else nn.Linear(w, dim) for w in widths)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.embed, *self.layers, *self.norms, *self.projections):
            _reset(layer)

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        x = self.embed(x)
        if x.size(0) == 0:  # some of PyG's layers don't take nothing
            return x
        surroundings = self._surroundings(x, pos, ptr)
        parts = zip(self.layers, self.keywords, self.norms, self.projections, strict=True)
        for layer, keywords, norm, projection in parts:
            y = layer(norm(x), **{key: getattr(surroundings, key) for key in keywords})
            y = F.gelu(projection(y))
            x = x + y if self.residual else y
        return x

    def edges(self, pos: Tensor, ptr: Tensor) -> Tensor:
        """The graph: row 0 neighbours, row 1 centres [2, E]; no PFO is its own neighbour.

        Args:
            pos: (η, φ) [P, 2].
            ptr: first PFO of each event [B + 1].
        """
        if self.graph == "knn":
            return ops.knn_graph(pos, self.k, ptr=ptr, metric=self.metric)
        radius = self.radius if self.graph == "radius" else math.inf
        return ops.radius_graph(pos, radius, max_num_neighbors=None, ptr=ptr, metric=self.metric)

    def _surroundings(self, x: Tensor, pos: Tensor, ptr: Tensor) -> Surroundings:
        edge_index = self.edges(pos, ptr)
        delta = pos[edge_index[0]] - pos[edge_index[1]]
        if self.metric == "wrapped_phi":
            delta = torch.stack([delta[:, 0], torch.remainder(delta[:, 1] + math.pi, 2 * math.pi) - math.pi], 1)
        distance = delta.square().sum(1, keepdim=True).sqrt()
        edge_attr = torch.cat([delta, distance.clamp(min=MIN_DELTA_R).log()], 1)
        eta, phi = pos[:, :1], pos[:, 1:]
        return Surroundings(
            edge_index,
            edge_attr.to(x.dtype),
            torch.exp(-distance[:, 0]).to(x.dtype),
            torch.cat([eta, phi.cos(), phi.sin()], 1).to(x.dtype),
            ops.batch_from_ptr(ptr, x.size(0)),
            ptr.size(0) - 1,
            x,
        )

    def _degree(self) -> int:
        """Neighbours of a PFO in a typical event."""
        if self.graph == "knn":
            return self.k
        near = 1.0 if self.graph == "full" else min(1.0, math.pi * self.radius**2 / TYPICAL_AREA)
        return max(1, round(near * (TYPICAL_PFOS - 1)))

    @torch.no_grad()
    def _widths(self) -> list[int]:
        """Width of each layer's output, found by calling it on three events.

        Raises:
            ConfigError: if a layer can't be called, or returns something else than a row for each PFO.
        """
        lengths, widths = (5, 1, 3), []
        with torch.random.fork_rng(devices=[]):
            pos, x = torch.rand(sum(lengths), 2), torch.randn(sum(lengths), self.out_dim)
            surroundings = self._surroundings(x, pos, torch.tensor([0, 5, 6, 9]))
            for layer, keywords in zip(self.layers, self.keywords, strict=True):
                name, training = type(layer).__name__, layer.training
                try:
                    y = layer.eval()(x, **{key: getattr(surroundings, key) for key in keywords})
                except Exception as error:
                    reason = str(error).strip().partition("\n")[0] or type(error).__name__
                    called = ", ".join(["x", *keywords])
                    others = [key for key in inspect.signature(layer.forward).parameters if key not in ("x", *keywords)]
                    missing = f"; its further arguments ({', '.join(others)}) events don't have" if others else ""
                    raise ConfigError(f"'pyg:{name}' can't be called with {called}: {reason}{missing}") from error
                finally:
                    layer.train(training)
                if not isinstance(y, Tensor) or y.dim() != 2 or len(y) != len(x):
                    found = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
                    raise ConfigError(f"'pyg:{name}' returned {found} for {len(x)} PFOs, expected a row for each")
                widths.append(y.size(1))
        return widths

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.layers)
        graph = {"knn": f"k={self.k}", "radius": f"radius={self.radius}", "full": "full"}[self.graph]
        return f"PyGBackbone({self.in_dim}, {self.out_dim}, [{names}], {graph})"


def _reset(layer: nn.Module) -> None:
    """Draw a layer's weights anew; one that can't do so by itself, part by part."""
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()  # type: ignore[operator]
    else:
        for part in layer.children():
            _reset(part)
    for part in layer.modules():
        if isinstance(part, nn.MultiheadAttention):  # PyG and torch forget this one
            part.out_proj.reset_parameters()


def _info(name: str) -> BackboneInfo:
    """What tables say of a PyG class.

    Raises:
        ConfigError: if there is no such class.
    """
    cls = find_class(name)
    summary = f"{cls.__name__} of PyTorch Geometric on a kNN, radius or full graph of each event"
    build = functools.partial(_build, name)
    return BackboneInfo(f"pyg:{name}", summary, "", frozenset(), PyGConfig, build)


def _build(name: str, in_dim: int, **options: Any) -> PyGBackbone:
    return PyGBackbone(in_dim, layers=name, **options)


register_backbone_family("pyg", "PyG's class NAME", _info)
