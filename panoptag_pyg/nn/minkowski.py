"""What Lorentz-equivariant layers share: products of four-momenta (E, px, py, pz), metric (+, −, −, −), and beams."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from panoptag_pyg import ops

#: An event's mass is taken for at least this share of its energy, where its rest frame is needed.
MIN_MASS = 1e-6


def dot(p: Tensor, q: Tensor) -> Tensor:
    r"""Minkowski product :math:`p \cdot q = E_p E_q - \vec p \cdot \vec q`.

    For fast, nearly collinear particles the two terms agree to some ten digits, of which float32 has seven: give
    float64. No autocast reaches it, as it isn't a matrix product.

    Shapes:
        p [..., 4], q [..., 4] → [...].
    """
    product = p * q
    return product[..., 0] - product[..., 1] - product[..., 2] - product[..., 3]


def signed_log(x: Tensor) -> Tensor:
    r"""LorentzNet's :math:`\psi(x) = \mathrm{sgn}(x) \log(1 + |x|)`, which brings invariants of GeV² to order one.

    Shapes:
        [...] → [...].
    """
    return x.sign() * x.abs().log1p()


def total_momentum(momentum: Tensor, ptr: Tensor) -> Tensor:
    """Sum of each event's four-momenta.

    Shapes:
        momentum [P, 4], ptr [B+1] → [B, 4].
    """
    return ops.segment_reduce(momentum, ptr, "sum")


def rest_energy(momentum: Tensor, ptr: Tensor) -> Tensor:
    r"""Energy of each particle in its event's rest frame, :math:`p_i \cdot P / \sqrt{P^2}`: a Lorentz invariant.

    Shapes:
        momentum [P, 4] float64, ptr [B+1] → [P].
    """
    total = ops.ragged.take_rows(total_momentum(momentum, ptr), ops.batch_from_ptr(ptr, momentum.size(0)))
    return dot(momentum, total) / _mass(total)


def rest_frame_directions(momentum: Tensor, ptr: Tensor) -> Tensor:
    r"""Direction of each particle in the rest frame of its event: unit vectors, up to one rotation of the whole event.

    .. math::
        \vec p^{\,*} = \vec p + \vec P \Big[\frac{\vec p \cdot \vec P}{M (E_P + M)} - \frac{E}{M}\Big],
        \qquad P = \sum_i p_i, \quad M^2 = P^2

    Distances between them are Lorentz-invariant, so neighbours found by them are the same in every frame; unlike the
    smallest :math:`(p_i + p_j)^2`, they don't prefer whoever is soft.

    Shapes:
        momentum [P, 4] float64, ptr [B+1] → [P, 3].
    """
    total = ops.ragged.take_rows(total_momentum(momentum, ptr), ops.batch_from_ptr(ptr, momentum.size(0)))
    mass = _mass(total)[:, None]
    energy, p = momentum[:, :1], momentum[:, 1:]
    total_energy, total_p = total[:, :1], total[:, 1:]
    tiny = torch.finfo(momentum.dtype).tiny
    along = (p * total_p).sum(1, keepdim=True) / (mass * (total_energy + mass)).clamp(min=tiny)
    boosted = p + total_p * (along - energy / mass.clamp(min=tiny))
    return boosted / boosted.norm(dim=1, keepdim=True).clamp(min=tiny)


def _mass(p: Tensor) -> Tensor:
    floor = (MIN_MASS * p[:, 0]).clamp(min=torch.finfo(p.dtype).tiny)
    return dot(p, p).clamp(min=0.0).sqrt().maximum(floor)


class WithBeams(NamedTuple):
    """Particles with two beams before those of each event.

    Attributes:
        momentum: [P + 2B, 4].
        scalars: [P + 2B, S + 1]; the last column is 1 for beams.
        ptr: [B+1].
        rows: where the P particles stand [P].
    """

    momentum: Tensor
    scalars: Tensor
    ptr: Tensor
    rows: Tensor


def with_beams(momentum: Tensor, scalars: Tensor, ptr: Tensor) -> WithBeams:
    """Put the lightlike vectors (1, 0, 0, ±1) into each event, which tell the network where the beam line is.

    What is left of the Lorentz group are rotations about the beam line: a boost along it scales the two vectors.

    Shapes:
        momentum [P, 4], scalars [P, S], ptr [B+1] → :class:`WithBeams`.
    """
    num_particles, num_events = momentum.size(0), ptr.size(0) - 1
    events = torch.arange(num_events + 1, device=ptr.device)
    joined_ptr = ptr + 2 * events
    particle = torch.arange(num_particles, device=ptr.device)
    rows = particle + 2 * ops.batch_from_ptr(ptr, num_particles) + 2
    # Rows num_particles and num_particles + 1 of the tables below are the beams.
    source = ptr.new_zeros(num_particles + 2 * num_events).index_copy(0, rows, particle)
    for beam in range(2):
        place = joined_ptr[:-1] + beam
        source = source.index_copy(0, place, torch.full_like(place, num_particles + beam))
    beams = momentum.new_tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0]])
    labels = torch.nn.functional.pad(scalars.new_zeros(2, scalars.size(1)), (0, 1), value=1.0)
    columns = torch.cat([torch.nn.functional.pad(scalars, (0, 1)), labels])
    momenta = torch.cat([momentum, beams])
    return WithBeams(ops.ragged.take_rows(momenta, source), ops.ragged.take_rows(columns, source), joined_ptr, rows)
