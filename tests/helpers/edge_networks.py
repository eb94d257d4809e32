"""Networks for edges, one of each kind that EdgeConv treats in its own way."""

import torch_geometric.nn as pyg
from torch import nn

from panoptag_pyg.nn import MLP

#: Those that ops.edge_conv can express.
FUSED = ("linear", "norm_gelu", "ours", "ours_linear", "pyg_norm_gelu", "nested", "no_bias")
#: Those that treat every edge alone.
ROW_BY_ROW = (*FUSED, "relu", "ours_plain", "pyg_gelu", "act_last", "wide_norm")


def edge_network(name: str, dim: int = 4) -> nn.Module:
    """[E, 2 dim] → [E, 6 or so]."""
    first = nn.Linear(2 * dim, 5)
    networks = {
        "linear": lambda: first,
        "norm_gelu": lambda: nn.Sequential(
            *(first, nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, 6))
        ),
        "ours": lambda: MLP([2 * dim, 5, 6], norm=True),
        "ours_linear": lambda: MLP([2 * dim, 6], norm=True),
        "ours_plain": lambda: MLP([2 * dim, 5, 6]),
        "pyg_norm_gelu": lambda: pyg.MLP(
            [2 * dim, 5, 7, 6], act="gelu", norm="layer_norm", norm_kwargs={"mode": "node"}
        ),
        "pyg_gelu": lambda: pyg.MLP([2 * dim, 5, 6], act="gelu", norm=None),
        "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(2 * dim, 5), nn.LayerNorm(5)), nn.GELU(), MLP([5, 6])),
        "no_bias": lambda: nn.Sequential(
            nn.Linear(2 * dim, 5, bias=False), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 6, bias=False)
        ),
        "relu": lambda: nn.Sequential(first, nn.ReLU(), nn.Linear(5, 6)),
        "act_last": lambda: pyg.MLP([2 * dim, 5, 6], norm=None, plain_last=False, act_first=True),
        "wide_norm": lambda: nn.Sequential(first, nn.LayerNorm(5, eps=1e-3), nn.GELU(), nn.Linear(5, 6)),
        "batch_norm": lambda: nn.Sequential(
            *(nn.Linear(2 * dim, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), pyg.Linear(5, 6), nn.BatchNorm1d(6))
        ),
        "pyg": lambda: pyg.MLP([2 * dim, 5, 6]),
        "graph_norm": lambda: pyg.MLP([2 * dim, 5, 6], act="gelu", norm="layer_norm"),
        "activation_first": lambda: nn.Sequential(nn.ReLU(), first),
    }
    return networks[name]()


ALL = (*ROW_BY_ROW, "batch_norm", "pyg", "graph_norm", "activation_first")
