"""Minkowski products: exact where float32 would be noise; rest frames; beams."""

from fractions import Fraction

import pytest
import torch
from helpers.lorentz import METRIC, along_beam, boost, random_lorentz, random_particles, rotation

from panoptag_pyg.nn.minkowski import dot, rest_energy, rest_frame_directions, signed_log, total_momentum, with_beams


def exact_dot(p, q):
    """In rational numbers: every float is one."""
    (e, *a), (f, *b) = ([Fraction(float(value)) for value in vector] for vector in (p, q))
    return float(e * f - sum(x * y for x, y in zip(a, b, strict=True)))


def test_products_of_collinear_particles(rng):
    """At 1 TeV and 1 mrad float64 keeps eight digits; float32, of the same float32 momenta, not one."""
    _, _, _, momentum = random_particles(rng, (30,), mass=0.0)
    scaled = (momentum * (1000 / momentum[:, :1])).float()
    p, q = scaled[0::3], scaled[1::3]
    expected = torch.tensor([exact_dot(a, b) for a, b in zip(p, q, strict=True)], dtype=torch.float64)
    error = (dot(p.double(), q.double()) - expected).abs() / expected.abs().clamp(min=1e-3)
    assert error.max() < 1e-6
    in_float32 = (dot(p, q) - expected).abs() / expected.abs().clamp(min=1e-3)
    assert in_float32.median() > 1e-3


def test_signed_log():
    x = torch.tensor([-10.0, -1e-9, 0.0, 1e-9, 10.0], dtype=torch.float64)
    torch.testing.assert_close(signed_log(x), torch.sign(x) * torch.log1p(x.abs()), rtol=1e-15, atol=0)


def test_transforms_keep_the_metric(rng):
    for transform in (random_lorentz(rng), along_beam(rng), boost(1.0, (1, 2, 3)), rotation(0.3, (0, 1, 0))):
        torch.testing.assert_close(transform @ METRIC @ transform.T, METRIC, rtol=0, atol=1e-10)


def test_rest_frame(rng):
    """Against the boost matrix of each event, and the same angles in every frame."""
    _, _, ptr, momentum = random_particles(rng, (6, 0, 11, 3))
    direction, energy = rest_frame_directions(momentum, ptr), rest_energy(momentum, ptr)
    for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        if a == b:
            continue
        total = momentum[a:b].sum(0)
        speed = total[1:].norm() / total[0]
        p = momentum[a:b] @ boost(-float(torch.atanh(speed)), total[1:].tolist()).T
        torch.testing.assert_close(p.sum(0)[1:], torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-8)
        torch.testing.assert_close(energy[a:b], p[:, 0])
        torch.testing.assert_close(direction[a:b], p[:, 1:] / p[:, 1:].norm(dim=1, keepdim=True))
    moved = momentum @ random_lorentz(rng).T
    torch.testing.assert_close(rest_energy(moved, ptr), energy)
    turned = rest_frame_directions(moved, ptr)
    for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        torch.testing.assert_close(turned[a:b] @ turned[a:b].T, direction[a:b] @ direction[a:b].T)


@pytest.mark.parametrize("momentum", [[[5.0, 0, 0, 5.0]], [[0.0, 0, 0, 0]], [[5.0, 3, 0, 4], [10.0, 6, 0, 8]]])
def test_events_without_a_rest_frame(momentum):
    """One massless particle, nothing at all, two collinear massless ones: finite."""
    p = torch.tensor(momentum, dtype=torch.float64)
    ptr = torch.tensor([0, len(p)])
    assert torch.isfinite(rest_frame_directions(p, ptr)).all()
    assert torch.isfinite(rest_energy(p, ptr)).all()


def test_beams_stand_before_each_event(rng):
    x, _, ptr, momentum = random_particles(rng, (3, 0, 2))
    joined = with_beams(momentum, x, ptr)
    assert joined.ptr.tolist() == [0, 5, 7, 11]
    torch.testing.assert_close(joined.momentum[joined.rows], momentum, rtol=0, atol=0)
    torch.testing.assert_close(joined.scalars[joined.rows][:, :-1], x, rtol=0, atol=0)
    beams = [0, 1, 5, 6, 7, 8]
    expected = torch.tensor([[1.0, 0, 0, 1], [1.0, 0, 0, -1]], dtype=torch.float64).repeat(3, 1)
    torch.testing.assert_close(joined.momentum[beams], expected, rtol=0, atol=0)
    assert joined.scalars[:, -1].nonzero().flatten().tolist() == beams
    assert (joined.scalars[beams, :-1] == 0).all()
    torch.testing.assert_close(total_momentum(momentum, ptr)[1], torch.zeros(4, dtype=torch.float64))
