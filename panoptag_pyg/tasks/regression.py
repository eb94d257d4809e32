"""Regression of a jet's pT or mass: a correction to what was measured, with an uncertainty for each jet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks.base import Sums, Task, check_truth, divided, row_weights, rows_of, unknown_everywhere
from panoptag_pyg.tasks.classification import COUNT_EVENTS
from panoptag_pyg.tasks.registry import register_task

Loss = Literal["gaussian", "student", "quantile"]
#: Levels of the quantile loss: those of ±1 standard deviation of a Gaussian, and the median.
LEVELS = (0.158655, 0.5, 0.841345)
#: Bounds of ln σ: a jet that the network is certain of must not make the loss infinite.
MAX_LOG_WIDTH = 7.0


class RegressionConfig(StrictConfig):
    """Options that both regressions share."""

    loss: Annotated[
        Loss,
        Field(
            description="what the network says of each jet: a Gaussian, a Student t (long tails), or three quantiles"
        ),
    ] = "student"
    degrees_of_freedom: Annotated[float, Field(ge=1, description="of the Student t")] = 4.0
    event_weights: Annotated[bool, Field(description="weigh each jet by its event's weight")] = True


class Regression(Task):
    r"""The logarithm of the response, :math:`t = \ln(\text{truth} / \text{measured})`, with its spread for each jet.

    With :math:`z = (t - \mu) / \sigma` for the network's :math:`\mu` and :math:`\sigma`, the loss is the mean over the
    jets with known truth, weighted by :math:`u` (the sum of :math:`u L` over that of :math:`|u|`), of

    * ``"gaussian"``: :math:`L = \ln σ + z^2 / 2 + \tfrac12 \ln 2\pi`;
    * ``"student"``: :math:`L = \ln σ + \tfrac{\nu + 1}{2} \ln(1 + z^2 / \nu) + \ln B(\tfrac12, \tfrac\nu2) +
      \tfrac12 \ln \nu`, with ν degrees of freedom: response tails are longer than Gaussian;
    * ``"quantile"``: :math:`L = \sum_q \max(q (t - t_q), (q - 1)(t - t_q))` over the quantiles at 15.9, 50 and 84.1 %
      (R. Koenker, G. Bassett, Econometrica 46 (1978) 33), whose order is built in.

    t is shifted and scaled to the median and the spread of the training jets first (:meth:`fit`); the loss is of the
    scaled t. The answer is :math:`\text{measured} \cdot e^{\mu}`, its uncertainty the half width of the central 68.3 %
    interval. Jets without truth count for nothing; without any the loss is 0, still attached to the output.

    A subclass sets ``truth`` and ``measured``, columns of jets in GeV.

    Args:
        loss: ``"student"`` (default), ``"gaussian"`` or ``"quantile"``.
        degrees_of_freedom: ν. Default 4.
        event_weights: whether jets are weighed by their event's weight. Default ``True``.

    Attributes:
        truth, measured: names of the columns.
        min_truth: jets with less truth are taken for unknown, GeV.
        floor: the measured value counts as at least this, GeV.
        centre, scale: median and spread of t in the training data.
    """

    Config = RegressionConfig
    kind = "regression"
    columns: ClassVar[Mapping[str, tuple[str, str]]] = {
        "predicted": ("GeV", "the task's answer: median of what the network expects"),
        "uncertainty": ("GeV", "half width of the central 68.3 % interval"),
        "measured": ("GeV", "as measured, before the correction"),
        "truth": ("GeV", "of the matched jet of stable particles; 0 unknown"),
    }
    truth: ClassVar[str]
    measured: ClassVar[str]
    min_truth: float = 0.0
    floor: float = 0.0
    centre: Tensor
    scale: Tensor

    def __init__(self, loss: Loss = "student", degrees_of_freedom: float = 4.0, event_weights: bool = True) -> None:
        super().__init__()
        self.loss, self.event_weights = loss, event_weights
        self.degrees_of_freedom = degrees_of_freedom
        self.num_outputs = 3 if loss == "quantile" else 2
        self.needs = frozenset({f"jet/{self.truth}", f"jet/{self.measured}"})
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def response(self, rows: Any) -> tuple[Tensor, Tensor]:
        """t and whether it is known. Shapes: [J], [J] (bool)."""
        truth, measured = rows[self.truth], rows[self.measured].clamp_min(max(self.floor, 1e-6))
        known = truth >= max(self.min_truth, 1e-6)
        return torch.where(known, truth.clamp_min(1e-6) / measured, 1.0).log(), known

    def fit(self, dataset: EventDataset) -> None:
        """Take median and spread of the response from the training jets.

        Raises:
            ConfigError: if no jet has a known truth.
        """
        check_truth(self, dataset)
        values = np.concatenate([*_responses(self, dataset)])
        if not len(values):
            raise unknown_everywhere(self, dataset, f"jet/{self.truth}")
        low, centre, high = np.quantile(values, LEVELS)
        self.centre.fill_(float(centre))
        # All alike, in a made-up sample: any scale will do.
        self.scale.fill_(float(high - low) / 2 or 1.0)

    def forward(self, output: Tensor, t: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, averaged over the jets with known truth.

        Args:
            output: of the network.
            t: log response.
            known: whether it is.
            weight: weight of each jet, may be negative. Default: 1.

        Shapes:
            output [J, num_outputs], t [J], known [J], weight [J] → scalar.
        """
        return divided(*self._loss_sums(output, t, known, weight))

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Sums for the loss and for the mean \\|log response\\| that is left after the correction.

        Args:
            output: of the network [J, num_outputs].
            batch: holds the truth and the events' weights.
        """
        t, known = self.response(rows_of(batch, self.level))
        weight = row_weights(batch, self.level) if self.event_weights else None
        centre, _ = self.interval(output.detach().float())
        error = ((t - centre).abs() * known).sum()
        return {
            "loss": self._loss_sums(output, t, known, weight),
            "error": (error.double(), known.sum().double()),
        }

    def interval(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Median of the expected t, and half the width of its central 68.3 % interval. Shapes: [J], [J]."""
        if self.loss == "quantile":
            quantiles = self.quantiles(output)
            centre, width = quantiles[:, 1], (quantiles[:, 2] - quantiles[:, 0]) / 2
        else:
            centre, width = output[:, 0], _log_width(output).exp()
            if self.loss == "student":
                width = width * student_half_width(self.degrees_of_freedom)
        scale = self.scale.to(output.dtype)
        return centre * scale + self.centre.to(output.dtype), width * scale

    @staticmethod
    def quantiles(output: Tensor) -> Tensor:
        """The three quantiles of the scaled t, rising. Shapes: [J, 3] → [J, 3]."""
        # softplus(0.54) = 1: an untrained network begins at the training jets' own spread.
        low, high = (F.softplus(output[:, i] + 0.541325) for i in (0, 2))
        return torch.stack([output[:, 1] - low, output[:, 1], output[:, 1] + high], dim=1)

    def answers(self, output: Tensor, batch: HeteroData) -> dict[str, Tensor]:
        rows = rows_of(batch, self.level)
        _, known = self.response(rows)
        centre, width = self.interval(output.float())
        measured = rows[self.measured].clamp_min(self.floor)
        predicted = measured * centre.exp()
        truth = torch.where(known, rows[self.truth], 0)
        return {"predicted": predicted, "uncertainty": predicted * width, "measured": measured, "truth": truth}

    def blank_truth(self, answers: dict[str, Tensor]) -> None:
        answers["truth"] = torch.zeros_like(answers["truth"])

    def summary(self) -> dict[str, Any]:
        """The training jets' response."""
        return {"median_log_response": self.centre.item(), "spread_log_response": self.scale.item()}

    def _loss_sums(self, output: Tensor, t: Tensor, known: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
        t = ((t.to(output.dtype) - self.centre) / self.scale).to(output.dtype)
        if self.loss == "quantile":
            levels = torch.tensor(LEVELS, dtype=output.dtype, device=output.device)
            miss = t.unsqueeze(1) - self.quantiles(output)
            loss = torch.maximum(levels * miss, (levels - 1) * miss).sum(dim=1)
        else:
            log_width = _log_width(output)
            z2 = ((t - output[:, 0]) * torch.exp(-log_width)).square()
            loss = log_width + (
                z2 / 2 + math.log(2 * math.pi) / 2
                if self.loss == "gaussian"
                else (self.degrees_of_freedom + 1) / 2 * torch.log1p(z2 / self.degrees_of_freedom)
                + _student_norm(self.degrees_of_freedom)
            )
        used = known.to(output.dtype) * (1 if weight is None else weight.to(output.dtype))
        # A jet without truth may have any loss, but not one that makes the sum NaN.
        return (used * torch.where(known, loss, 0)).sum(), used.abs().sum()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.loss}, response {self.centre.item():.3g} ± {self.scale.item():.3g})"


@register_task("jet_pt")
class JetPt(Regression):
    """pT of the jet of stable particles, ``jet/truth_pt``; see :class:`~panoptag_pyg.tasks.Regression`.

    Jets matched to less than 10 GeV are left out: they are mostly matched to something else.
    """

    truth, measured = "truth_pt", "pt"
    min_truth = 10.0


@register_task("jet_mass")
class JetMass(Regression):
    """Mass of the jet of stable particles, ``jet/truth_mass``; see :class:`~panoptag_pyg.tasks.Regression`.

    A jet of one particle has no mass to speak of: jets with less than 1 GeV are left out, and less measured mass
    than 1 GeV counts as 1 GeV, so that the response stays finite.
    """

    truth, measured = "truth_mass", "mass"
    min_truth = 1.0
    floor = 1.0


def student_half_width(degrees_of_freedom: float) -> float:
    """Half the width of the central 68.3 % interval of a Student t of width 1."""
    from scipy.stats import t

    return float(t.ppf(LEVELS[2], degrees_of_freedom))


def _student_norm(nu: float) -> float:
    return math.lgamma(nu / 2) - math.lgamma((nu + 1) / 2) + math.log(nu * math.pi) / 2


def _log_width(output: Tensor) -> Tensor:
    return output[:, 1].clamp(-MAX_LOG_WIDTH, MAX_LOG_WIDTH)


def _responses(task: Regression, dataset: EventDataset) -> Iterator[np.ndarray]:
    for start in range(0, len(dataset), COUNT_EVENTS):
        block = dataset.read_block(range(start, min(start + COUNT_EVENTS, len(dataset))))
        t, known = task.response({name: torch.from_numpy(block.jet[name]) for name in (task.truth, task.measured)})
        yield t[known].numpy()
