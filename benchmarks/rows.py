"""Rows of a benchmark: what was compared with what, and how near to the floor it came."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .limits import Limits


@dataclass
class Work:
    """What an operation cannot do without.

    Attributes:
        flops: multiplications and additions of the cheapest known formulation.
        num_bytes: inputs read once and results written once.
        dtype: of the matrix products, for the floor's rate.
    """

    flops: float
    num_bytes: float
    dtype: str = "float32"

    def times(self, factor: float) -> Work:
        """That many times as much; a training step is three forward passes."""
        return Work(factor * self.flops, factor * self.num_bytes, self.dtype)


@dataclass
class Measured:
    """One implementation's figures.

    Attributes:
        name: ``"torch"``, ``"torch-cluster"``, ….
        value: median over the rounds, in the row's unit; ``None`` where it wasn't timed.
        low: smallest round.
        high: largest round.
        peak_mib: memory that one call needs at its height.
        status: ``"measured"``, ``"failed: …"`` or ``"not installed: …"``.
        difference: largest deviation from the reference, relative to what is allowed (at most 1 passes).
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    status: str = "measured"
    difference: float | None = None


@dataclass
class Row:
    """One comparison.

    Attributes:
        name: what ``--only`` takes.
        measure: in words.
        ours: our implementation.
        peer: the one it is compared with, if any.
        unit: of the values, such as ``"ms"``.
        ratio: peer / ours, median over the rounds; above 1 ours is quicker (or smaller). Rows without a peer, such as a
            share or an exponent, have their figure here.
        ratio_range: smallest and largest round.
        target: what the ratio must reach.
        at_most: the target is an upper bound. Default: a lower one.
        work: counted FLOPs and bytes of ours, in one call.
        per: events (or other units) of one call, where the unit is "per event".
        floor: least value that the machine allows, in the row's unit.
        ratio_is_share: the row's figure is the share of the floor.
        size: sizes of the model or operation, such as ``"paper"``.
        note: what one needs to know to read the row.
        details: further figures for the JSON.
    """

    name: str
    measure: str
    ours: Measured
    peer: Measured | None = None
    unit: str = "ms"
    ratio: float | None = None
    ratio_range: tuple[float, float] | None = None
    target: float | None = None
    at_most: bool = False
    work: Work | None = None
    per: float = 1.0
    floor: float | None = None
    ratio_is_share: bool = False
    size: str = ""
    note: str = ""
    details: dict[str, Any] | None = None

    @property
    def failed(self) -> bool:
        """Whether a check against the reference failed; such an implementation isn't timed."""
        return any(side is not None and side.status.startswith("failed") for side in (self.ours, self.peer))

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; ``None`` without a target or without a figure."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    @property
    def share_of_floor(self) -> float | None:
        """Floor over ours: 1 is the machine's limit."""
        if self.floor is None or not self.ours.value:
            return None
        return self.floor / self.ours.value

    def set_floor(self, limits: Limits) -> None:
        """Work out the floor, in milliseconds per unit, from the counted work and the measured rates."""
        if self.work is not None:
            self.floor = 1e3 / self.per * limits.floor(self.work.flops, self.work.num_bytes, self.work.dtype)
            if self.peer is None and self.ratio_is_share:
                self.ratio = self.share_of_floor

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "holds": self.holds, "failed": self.failed, "share_of_floor": self.share_of_floor}
