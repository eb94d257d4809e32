"""LorentzNet's block against its formulae, edge by edge."""

import torch
from helpers.lorentz import METRIC, random_lorentz, random_particles

from panoptag_pyg.nn.lorentz_block import MAX_STEP, LorentzBlock
from panoptag_pyg.ops.ragged_pairs import complete_graph


def psi(value):
    return torch.sign(value) * torch.log(value.abs() + 1)


def reference(block, h, x, scalars, ptr):
    """Every formula as it is printed, with one concatenated row per edge; batch normalisation with running averages."""

    def norm(layer, value):
        return layer.weight * (value - layer.running_mean) / torch.sqrt(layer.running_var + layer.eps) + layer.bias

    new_h, new_x = [], []
    for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        for i in range(a, b):
            messages, moves = [], []
            for j in range(a, b):
                if i == j:
                    continue
                difference = x[i] - x[j]
                products = torch.stack([psi(difference @ METRIC @ difference), psi(x[i] @ METRIC @ x[j])])
                message = block.edge_in.weight @ torch.cat([h[i], h[j], products])
                message = block.edge_out(norm(block.edge_norm, message).relu()).relu()
                message = torch.sigmoid(block.gate(message)) * message
                messages.append(message)
                moves.append((difference * block.move_out(block.move_in(message).relu())).clamp(-MAX_STEP, MAX_STEP))
            gathered = torch.stack(messages).sum(0) if messages else torch.zeros_like(h[i])
            node = norm(block.node_norm, block.node_in(torch.cat([h[i], gathered, scalars[i]])))
            new_h.append(h[i] + block.node_out(node.relu()))
            new_x.append(x[i] + block.step * torch.stack(moves).mean(0) if moves else x[i])
    return torch.stack(new_h), torch.stack(new_x)


def inputs(rng, lengths=(4, 0, 1, 6)):
    x, _, ptr, momentum = random_particles(rng, lengths)
    block = LorentzBlock(7, 3, step=0.1).double()
    with torch.no_grad():
        block.move_out.weight.mul_(1000)
        for norm in (block.edge_norm, block.node_norm):
            norm.running_mean.copy_(torch.from_numpy(rng.normal(size=7)))
            norm.running_var.copy_(torch.from_numpy(rng.uniform(0.5, 2, 7)))
    edges = complete_graph(ptr)
    degree = ptr.diff().repeat_interleave(ptr.diff()) - 1
    edge_ptr = torch.cat([torch.zeros(1, dtype=torch.long), degree.cumsum(0)])
    return block.eval(), x[:, :7].contiguous(), momentum, x[:, 7:10].contiguous(), ptr, edges, edge_ptr


def test_against_the_formulae(rng):
    block, h, x, scalars, ptr, edges, edge_ptr = inputs(rng)
    variables = [h.requires_grad_(), x.requires_grad_(), *block.parameters()]
    actual, expected = block(h, x, scalars, edges, edge_ptr), reference(block, h, x, scalars, ptr)
    torch.testing.assert_close(actual, expected)
    assert not torch.allclose(actual[1], x, atol=1e-3)
    weights = [torch.from_numpy(rng.normal(size=value.shape)) for value in actual]
    gradients = [
        torch.autograd.grad(sum((y * w).sum() for y, w in zip(ys, weights, strict=True)), variables)
        for ys in (actual, expected)
    ]
    torch.testing.assert_close(*gradients)


def test_vectors_turn_and_scalars_stay(rng):
    block, h, x, scalars, _, edges, edge_ptr = inputs(rng)
    with torch.no_grad():
        block.move_out.weight.mul_(0.02)  # a step beyond 100 GeV would be cut short, in one frame alone
    transform = random_lorentz(rng)
    h_0, x_0 = block(h, x, scalars, edges, edge_ptr)
    h_1, x_1 = block(h, x @ transform.T, scalars, edges, edge_ptr)
    torch.testing.assert_close(h_1, h_0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x_1, x_0 @ transform.T, rtol=1e-9, atol=1e-8)


def test_momenta_keep_their_precision_under_autocast(rng):
    block, h, x, scalars, _, edges, edge_ptr = inputs(rng)
    block, h, scalars = block.float(), h.float(), scalars.float()
    with torch.autocast("cpu", torch.bfloat16):
        h_16, x_16 = block(h, x, scalars, edges, edge_ptr)
    h_32, x_32 = block(h, x, scalars, edges, edge_ptr)
    assert x_16.dtype == torch.float64
    assert h_16.dtype == torch.float32
    torch.testing.assert_close(h_16, h_32, rtol=0.1, atol=0.1)
    torch.testing.assert_close(x_16, x_32, rtol=0.05, atol=0.05 * float((x_32 - x).abs().max()))
