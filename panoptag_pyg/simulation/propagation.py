"""Propagation of particles through a solenoid to the calorimeter's surface: straight lines and helices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.simulation.detector_card import Propagation
from panoptag_pyg.simulation.particles import Particles

#: Speed of light in m/ns: pT[GeV] = 0.2998 B[T] r[m].
SPEED_OF_LIGHT = 0.299792458


@dataclass
class Propagated:
    """Where particles leave the tracker, and the tracks' parameters at closest approach.

    Attributes:
        rows: rows of the surviving particles among those given [N].
        outer_eta, outer_phi: point on the surface [N].
        pt, eta: transverse momentum in GeV and pseudorapidity of the momentum [N].
        phi: azimuth of the momentum; of charged particles at the closest approach to the beam line [N].
        d0, dz: signed transverse and longitudinal impact parameter in mm, relative to the origin; 0 for neutrals [N].
    """

    rows: np.ndarray
    outer_eta: np.ndarray
    outer_phi: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    d0: np.ndarray
    dz: np.ndarray


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """``angle`` moved into [-π, π) by whole turns."""
    return angle - 2 * np.pi * np.floor(angle / (2 * np.pi) + 0.5)


def propagate(particles: Particles, card: Propagation) -> Propagated:
    """Move particles from their production vertex to the cylinder's surface.

    Neutral particles fly straight. Charged ones follow a helix of signed radius r[m] = pT / (0.2998 q B) around
    (xc, yc) = (x + r sinφ, y − r cosφ). With Rc = hypot(xc, yc) and s = sign r, the direction at the closest approach
    is φd = atan2(s·xc, −s·yc), and

    .. math:: d_0 = s (R_c - |r|), \\quad d_z = z + (p_z / p_T) \\, r \\, \\mathrm{wrap}(φ - φ_d).

    Particles that are born outside, have too little pT or never leave are dropped.

    Args:
        particles: N' particles.
        card: field and cylinder.

    Shapes: all returned arrays [N], N ≤ N'.
    """
    px, py, x, y, z = particles.px, particles.py, particles.x, particles.y, particles.z
    pt2 = px * px + py * py
    inside = (x * x + y * y < card.radius**2) & (np.abs(z) < card.half_length) & (pt2 >= card.min_pt_squared)
    rows = np.flatnonzero(inside)
    if len(rows) < len(inside):
        px, py, x, y, z, pt2 = (values[rows] for values in (px, py, x, y, z, pt2))
    pz, charge = particles.pz[rows], particles.charge[rows]
    pt = np.sqrt(pt2)
    slope = pz / pt
    phi = np.arctan2(py, px)

    with np.errstate(divide="ignore"):
        to_endcap = (np.copysign(card.half_length, pz) - z) / slope
    charged = np.flatnonzero((charge != 0) & (card.field != 0))
    neutral = np.flatnonzero((charge == 0) | (card.field == 0))
    end_x, end_y, path = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    d0, dz = np.zeros_like(x), np.zeros_like(x)

    n = neutral
    path[n] = np.minimum(_straight_to_barrel(x[n], y[n], px[n] / pt[n], py[n] / pt[n], card.radius), to_endcap[n])
    end_x[n] = x[n] + path[n] * px[n] / pt[n]
    end_y[n] = y[n] + path[n] * py[n] / pt[n]

    c = charged
    radius = 1000 * pt[c] / (SPEED_OF_LIGHT * charge[c] * card.field)
    helix = _Helix(x[c], y[c], radius, np.sin(phi[c]), np.cos(phi[c]))
    path[c] = np.minimum(helix.path_to_barrel(card.radius), to_endcap[c])
    end_x[c], end_y[c] = helix.point(np.where(np.isfinite(path[c]), path[c], 0.0))
    sign = np.sign(radius)
    direction = np.arctan2(sign * helix.centre_x, -sign * helix.centre_y)
    d0[c] = sign * (helix.centre_distance - np.abs(radius))
    dz[c] = z[c] + slope[c] * radius * wrap_angle(phi[c] - direction)
    phi[c] = direction

    # A particle that turns in the transverse plane for ever (pz = 0) leaves nowhere.
    transverse = np.hypot(end_x, end_y)
    keep = np.isfinite(path) & (transverse > 0)
    if not keep.all():
        rows, end_x, end_y, z, path, transverse, pt, slope, phi, d0, dz = (
            values[keep] for values in (rows, end_x, end_y, z, path, transverse, pt, slope, phi, d0, dz)
        )
    return Propagated(
        rows=rows,
        outer_eta=np.arcsinh((z + slope * path) / transverse),
        outer_phi=np.arctan2(end_y, end_x),
        pt=pt,
        eta=np.arcsinh(slope),
        phi=phi,
        d0=d0,
        dz=dz,
    )


def _straight_to_barrel(x: np.ndarray, y: np.ndarray, ux: np.ndarray, uy: np.ndarray, radius: float) -> np.ndarray:
    """Transverse path from (x, y) along the unit vector (ux, uy) to the circle around the beam."""
    along = x * ux + y * uy
    return -along + np.sqrt(np.maximum(along**2 + radius**2 - x**2 - y**2, 0))


class _Helix:
    """A helix's circle in the transverse plane; a positive ``radius`` turns clockwise.

    Args:
        x, y: starting point in mm.
        radius: signed radius in mm.
        sin_phi, cos_phi: direction at the starting point.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, radius: np.ndarray, sin_phi: np.ndarray, cos_phi: np.ndarray
    ) -> None:
        self.x, self.y, self.radius = x, y, radius
        self.sin_phi, self.cos_phi = sin_phi, cos_phi
        self.centre_x = x + radius * sin_phi
        self.centre_y = y - radius * cos_phi
        self.centre_distance = np.hypot(self.centre_x, self.centre_y)

    def path_to_barrel(self, barrel: float) -> np.ndarray:
        """Transverse path length to the cylinder of radius ``barrel``; inf where the circle lies inside it."""
        size = np.abs(self.radius)
        distance = self.centre_distance
        reaches = distance + size >= barrel
        # Angles are seen from the circle's centre; at angle δ from the direction away from the beam line the point
        # is at distance² = distance² + size² + 2 distance size cos δ.
        product = np.where(reaches & (distance > 0), 2 * distance * size, 1.0)
        cosine = np.clip((barrel**2 - distance**2 - size**2) / product, -1, 1)
        crossing = np.arccos(cosine)
        across = self.x * self.centre_y - self.y * self.centre_x
        along = (self.x - self.centre_x) * self.centre_x + (self.y - self.centre_y) * self.centre_y
        start = np.arctan2(-across, along)
        turning = np.where(self.radius > 0, start - crossing, -start - crossing)
        turning -= 2 * np.pi * np.floor(turning / (2 * np.pi))
        return np.where(reaches & (distance > 0), size * turning, np.inf)

    def point(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) after the transverse path length ``path``."""
        angle = path / self.radius
        sine = np.sin(angle)
        versine = 2 * np.sin(angle / 2) ** 2
        return (
            self.x + self.radius * (self.cos_phi * sine + self.sin_phi * versine),
            self.y + self.radius * (self.sin_phi * sine - self.cos_phi * versine),
        )
