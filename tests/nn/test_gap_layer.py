"""ABCNet's GAPLayer against a loop over heads, points and neighbours."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn import GAPLayer

LENGTHS = (7, 0, 1, 4, 12)


def by_its_formula(layer, x, neighbours):
    """``neighbours[i]`` is a list; nothing is factored."""
    heads, width = layer.att_self.shape
    x = F.layer_norm(x, x.shape[1:], layer.norm.weight, layer.norm.bias)
    attention, graph = [], []
    for i, others in enumerate(neighbours):
        of_point, of_graph = [], []
        for h in range(heads):
            rows = slice(h * width, (h + 1) * width)
            own = F.relu(F.linear(x[i], layer.lin_self.weight[rows], layer.lin_self.bias[rows]))
            y = [F.relu(F.linear(x[i] - x[j], layer.lin_edge.weight[rows], layer.lin_edge.bias[rows])) for j in others]
            total, largest = x.new_zeros(width), x.new_zeros(width)
            if y:
                scores = [layer.att_self[h] @ own + layer.att_edge[h] @ e + layer.att_bias[h] for e in y]
                weights = F.leaky_relu(torch.stack(scores), 0.2).softmax(0)
                total = sum(w * e for w, e in zip(weights, y, strict=True))
                largest = torch.stack(y).amax(0)
            of_point.append(F.relu(total + layer.bias[rows]))
            of_graph.append(largest)
        attention.append(torch.cat(of_point))
        graph.append(torch.cat(of_graph))
    return torch.stack(attention), torch.stack(graph)


@pytest.mark.parametrize(("k", "heads"), [(1, 1), (3, 2), (20, 3)])
def test_value_and_gradients_equal_a_loop(rng, k, heads):
    layer = GAPLayer(5, 6, heads).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.from_numpy(rng.normal(size=parameter.shape)))
    ptr, total = ptr_of(LENGTHS), sum(LENGTHS)
    x = torch.from_numpy(rng.normal(size=(total, 5))).requires_grad_()
    table, count = ops.neighbour_table(x, k, ptr), ops.neighbour_count(ptr, k, total)
    neighbours = [row[:n] for row, n in zip(table.tolist(), count.tolist(), strict=True)]
    weight = torch.from_numpy(rng.normal(size=(2, total, 6)))
    results = []
    for y in (layer(x, table, count), by_its_formula(layer, x, neighbours)):
        grads = torch.autograd.grad((torch.stack(y) * weight).sum(), [x, *layer.parameters()])
        results.append([*y, *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="out_dim=6 and num_heads=4"):
        GAPLayer(5, 6, 4)
