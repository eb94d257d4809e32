"""PyG's layers by class name: what their constructors and their forward want is looked up and given to them."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
import torch_geometric.nn.conv as pyg_conv
import torch_geometric.nn.models as pyg_models
from torch import Tensor, nn
from torch_geometric.nn.models.basic_gnn import PNA, BasicGNN

from panoptag_pyg.errors import ConfigError, suggest

#: Features of an edge: Δη, Δφ, ln ΔR.
EDGE_DIM = 3
#: Coordinates of a PFO as PyG's layers get them: η, cos φ, sin φ.
POS_DIM = 3
#: Layers that look for neighbours themselves, with a compiled package, and what to take in their place.
OWN_NEIGHBOURS = {
    "DynamicEdgeConv": "the backbone 'edgeconv', or pyg:EdgeConv,",
    "GravNetConv": "the backbone 'gravnet'",
    "XConv": "pyg:PointTransformerConv",
}
#: Constructor arguments that say how many features an edge has; a layer that has none set isn't given any.
EDGE_SIZES = ("edge_dim", "in_edge_channels", "dim")
#: Layers that take edge weights only in a form of their own.
NO_EDGE_WEIGHT = ("FAConv",)
#: Values of optional arguments that fit what layers are given here.
ALWAYS = (*EDGE_SIZES, "local_nn")


@dataclass
class Surroundings:
    """What a layer can be called with.

    Attributes:
        edge_index: row 0 neighbours, row 1 centres [2, E].
        edge_attr: Δη, Δφ (wrapped) and ln ΔR from centre to neighbour [E, 3].
        edge_weight: exp(−ΔR) [E].
        pos: η, cos φ, sin φ [P, 3].
        batch: event of each PFO [P].
        batch_size: B.
        x_0: the PFOs' first embedding [P, dim].
    """

    edge_index: Tensor
    edge_attr: Tensor
    edge_weight: Tensor
    pos: Tensor
    batch: Tensor
    batch_size: int
    x_0: Tensor


@dataclass
class LayerSpec:
    """What is asked for.

    Attributes:
        name: the class in ``torch_geometric.nn``.
        dim: width of input and output.
        num_layers: of models, which are stacks already.
        degree: neighbours that a PFO typically has.
        edge_features: whether layers that can are given edge features and weights.
        arguments: constructor arguments that win over what is filled in.
    """

    name: str
    dim: int
    num_layers: int = 1
    degree: int = 8
    edge_features: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)


def find_class(name: str) -> type[nn.Module]:
    """A convolution or model of ``torch_geometric.nn``.

    Raises:
        ConfigError: for a name that there isn't, with the nearest; or a layer that can't be used here, with the reason.
    """
    known = {
        key: value
        for module in (pyg_models, pyg_conv)
        for key, value in vars(module).items()
        if key in module.__all__ and inspect.isclass(value) and issubclass(value, nn.Module)
    }
    if name not in known:
        by_lower = {key.lower(): key for key in known}
        near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
        hint = f"; did you mean 'pyg:{by_lower[near[0]]}'?" if near else ""
        raise ConfigError(f"torch_geometric.nn has no convolution or model '{name}'{hint}")
    if name in OWN_NEIGHBOURS:
        raise ConfigError(
            f"'pyg:{name}' looks for neighbours itself, with pyg-lib or torch-cluster; take {OWN_NEIGHBOURS[name]} "
            "which need neither"
        )
    return known[name]


def is_model(cls: type[nn.Module]) -> bool:
    """Whether it is a stack of layers already."""
    return cls.__module__.startswith("torch_geometric.nn.models")


def build_layer(spec: LayerSpec) -> nn.Module:
    """Make one layer.

    Args:
        spec: what is asked for.

    Raises:
        ConfigError: for an unknown class or argument, or one that it needs and that can't be filled in.
    """
    cls = find_class(spec.name)
    parameters = {
        name: parameter for name, parameter in inspect.signature(cls.__init__).parameters.items() if name != "self"
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = [
        name
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    for name in spec.arguments:
        if name not in named and not takes_any:
            raise ConfigError(f"'pyg:{spec.name}' has no argument '{name}'{suggest(name, named)}")
    given = {name: _given(name, value, spec) for name, value in spec.arguments.items()}
    fillable = _fillable(cls, spec, parameters, given)
    for name in named:
        required = parameters[name].default is inspect.Parameter.empty
        if name in given or not (required or (name in fillable and name in ALWAYS)):
            continue
        if name not in fillable:
            raise ConfigError(
                f"'pyg:{spec.name}' needs the argument '{name}', which can't be guessed: "
                f"give it as arguments = {{ {name} = … }}"
            )
        given[name] = fillable[name]
    if issubclass(cls, BasicGNN):
        extra = ["edge_dim"] if getattr(cls, "supports_edge_attr", False) and spec.edge_features else []
        extra += ["aggregators", "scalers", "deg"] if issubclass(cls, PNA) else []
        given = {**{name: fillable[name] for name in extra}, **given}
    try:
        return cls(**given)
    except ImportError as error:
        raise ConfigError(f"'pyg:{spec.name}' needs a package that isn't installed: {error}") from error
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        raise ConfigError(f"'pyg:{spec.name}' doesn't take {_shown(given)}: {_first_line(error)}") from error


def _fillable(
    cls: type[nn.Module], spec: LayerSpec, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What arguments of these names get, unless they are given."""
    dim = spec.dim

    def default(name: str, fallback: Any) -> Any:
        if name in given:
            return given[name]
        return parameters[name].default if name in parameters else fallback

    heads = default("heads", 1)
    shared = not is_model(cls) and "heads" in parameters and default("concat", True)
    if shared and "out_channels" in parameters and "out_channels" not in given and dim % heads:
        raise ConfigError(f"'pyg:{spec.name}' joins its heads: heads = {heads} must divide dim = {dim}")
    edges = EDGE_DIM if spec.edge_features else 0
    histogram = torch.zeros(spec.degree + 1, dtype=torch.long)
    histogram[spec.degree] = 1
    values: dict[str, Any] = {
        "in_channels": dim,
        "out_channels": dim // heads if shared else dim,
        "hidden_channels": dim,
        "channels": dim,
        "num_layers": spec.num_layers if is_model(cls) else 1,
        "deg": histogram,
        "aggregators": ["mean", "min", "max", "std"],
        "scalers": ["identity", "amplification", "attenuation"],
        "conv": None,
        "nn": None,
        "local_nn": _mlp(dim + POS_DIM, dim),
        "mlp_h": _mlp(dim, POS_DIM),
        "mlp_f": _mlp(dim + POS_DIM, dim),
        "mlp_g": _mlp(dim, dim),
    }
    if (edges and "edge_attr" in inspect.signature(cls.forward).parameters) or cls.__name__ in ("GMMConv", "PDNConv"):
        values |= dict.fromkeys(EDGE_SIZES, EDGE_DIM)
    if issubclass(cls, BasicGNN):
        values["edge_dim"] = EDGE_DIM
    if "nn" in parameters:
        widths = {"EdgeConv": (2 * dim, dim), "NNConv": (EDGE_DIM, dim * dim)}
        values["nn"] = _mlp(*widths.get(cls.__name__, (dim, dim)))
    if "conv" in parameters and "conv" not in given:
        values["conv"] = build_layer(_nested(spec, {"name": "GINEConv" if cls.__name__ == "GPSConv" else "GCNConv"}))
    return values


def _given(name: str, value: Any, spec: LayerSpec) -> Any:
    """An argument as a recipe can write it: a layer by name, widths of an MLP, a list for a tensor."""
    if name == "conv" and isinstance(value, (str, Mapping)):
        return build_layer(_nested(spec, {"name": value} if isinstance(value, str) else value))
    if name == "deg" and isinstance(value, (list, tuple)):
        return torch.tensor(value, dtype=torch.long)
    if (name == "nn" or name.endswith("_nn") or name.startswith("mlp_")) and isinstance(value, (list, tuple)):
        return _mlp(*value)
    return copy.deepcopy(value) if isinstance(value, nn.Module) else value


def _nested(spec: LayerSpec, value: Mapping[str, Any]) -> LayerSpec:
    if "name" not in value:
        raise ConfigError(f"the layer inside 'pyg:{spec.name}' needs a name: conv = {{ name = \"GATv2Conv\", … }}")
    arguments = {key: entry for key, entry in value.items() if key != "name"}
    return LayerSpec(str(value["name"]).removeprefix("pyg:"), spec.dim, 1, spec.degree, spec.edge_features, arguments)


def _mlp(*widths: int) -> nn.Sequential:
    """Linear layers with GELU between; at least one hidden one. PyG reads its width off a Sequential's first layer."""
    if len(widths) == 2:
        widths = (widths[0], widths[0], widths[1])
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += ([nn.GELU()] if i else []) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def keywords_of(layer: nn.Module, edge_features: bool = True) -> list[str]:
    """Names of what its forward is called with beside x: fields of :class:`Surroundings`.

    Args:
        layer: a PyG layer or model, or any module ``(x, edge_index)``.
        edge_features: whether to give optional edge features and weights. Default ``True``.

    Raises:
        ConfigError: naming the argument that it needs and can't be given.
    """
    name = type(layer).__name__
    parameters = dict(inspect.signature(layer.forward).parameters)
    wanted = []
    for key, parameter in parameters.items():
        if key == "x" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        required = parameter.default is parameter.empty
        if key not in Surroundings.__dataclass_fields__:
            if required:
                raise ConfigError(f"'pyg:{name}' is called with '{key}', which events don't have")
            continue
        if required or _optional(layer, key, edge_features):
            wanted.append(key)
    inner = getattr(layer, "conv", None)
    if isinstance(inner, nn.Module) and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        wanted += [key for key in keywords_of(inner, edge_features) if key not in wanted]
    return wanted


def _optional(layer: nn.Module, key: str, edge_features: bool) -> bool:
    name = type(layer).__name__
    if key == "edge_weight":
        supported = getattr(layer, "supports_edge_weight", True)
        return edge_features and supported and name not in NO_EDGE_WEIGHT
    if key == "edge_attr":
        if isinstance(layer, BasicGNN):
            return edge_features and layer.supports_edge_attr
        if name == "NNConv":
            return True
        # What layers keep of having been told how many features an edge has.
        signs = ("lin",) if name == "GINEConv" else (*EDGE_SIZES, "lin_edge")
        return any(getattr(layer, sign, None) for sign in signs)
    return key in ("batch", "batch_size")


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in given.items() if not isinstance(value, (nn.Module, Tensor)))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
