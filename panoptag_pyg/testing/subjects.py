"""What is under test: how to build it, which batches it takes, how it is called. The checks know no more than this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events import pfo_momentum
from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.testing.events import joined, random_events


@dataclass
class Subject:
    """A network under test; :class:`BackboneUnderTest` and :class:`TaggerUnderTest` are the two kinds.

    Attributes:
        build: makes the network, with new random weights each time.
        fullgraph: whether ``torch.compile`` must take it as one graph. Default ``True``; ``False`` is for networks
            whose layers come from packages that break graphs.
        tolerance: of symmetries in float64, relative to the largest output. Default 1e-9.
        max_steps: within so many steps of AdamW a handful of events must be learnt by heart. Default 400.
        learning_rate: of these steps. Default 3e-3.
        without_gradient: names (or their ends) of parameters that no gradient needs to reach. Default: none.
        seed: of weights and events. Default: another one each time; a failed check tells it.
    """

    build: Callable[..., nn.Module]
    fullgraph: bool = True
    tolerance: float = 1e-9
    max_steps: int = 400
    learning_rate: float = 3e-3
    without_gradient: tuple[str, ...] = ()
    seed: int = field(default_factory=lambda: int(np.random.default_rng().integers(2**31)))

    kind = "network"

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self._draws = np.random.SeedSequence(self.seed)

    def module(self, dtype: torch.dtype = torch.float32, train: bool = False) -> nn.Module:
        """A new network."""
        return self.build().to(dtype).train(train)

    def events(
        self, num_pfos: Sequence[int], num_jets: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> list[HeteroData]:
        """New events that hold what the network reads."""
        raise NotImplementedError

    def fit(self, module: nn.Module, batch: HeteroData) -> None:
        """Let the network take its normalisation from a batch."""

    def run(self, module: Callable[..., Any], batch: HeteroData) -> Tensor:
        """Its output on a batch."""
        raise NotImplementedError

    def rows(self, batch: HeteroData) -> int:
        """How many rows the output must have."""
        raise NotImplementedError

    def labels(self, module: nn.Module, batch: HeteroData, classes: int) -> Tensor:
        """Random classes, one for each row of the output."""
        generator = torch.Generator().manual_seed(self.next_seed())
        return torch.randint(classes, (self.rows(batch),), generator=generator)

    def next_seed(self) -> int:
        """Another seed at each call, the same ones in the same order for one ``seed``."""
        return int(self._draws.spawn(1)[0].generate_state(1)[0])

    def require(self, condition: bool, sentence: str) -> None:
        """Fail with a sentence unless the condition holds.

        Raises:
            AssertionError: with the sentence and the seed that repeats it.
        """
        if not condition:
            raise AssertionError(f"the {self.kind} {sentence} (seed={self.seed})")


@dataclass
class BackboneUnderTest(Subject):
    """An event encoder, called as ``(x, pos, ptr, max_length)``, with ``momentum`` where its ``needs`` say so.

    Attributes:
        in_dim: how many features each PFO has; ``build(in_dim)`` makes the backbone. Default 14.
    """

    in_dim: int = len(PFO_FEATURES)

    kind = "backbone"

    def module(self, dtype: torch.dtype = torch.float32, train: bool = False) -> nn.Module:
        """A new backbone."""
        module = self.build(self.in_dim)
        self.require(
            isinstance(getattr(module, "out_dim", None), int), "needs an attribute out_dim, the width of its output"
        )
        return module.to(dtype).train(train)

    def events(
        self, num_pfos: Sequence[int], num_jets: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> list[HeteroData]:
        """Events whose PFOs carry ``inputs``: features of order one."""
        events = random_events(num_pfos, num_jets, dtype=dtype, seed=self.next_seed())
        generator = torch.Generator().manual_seed(self.next_seed())
        for event in events:
            count = len(event["pfo"].x)
            event["pfo"].inputs = torch.randn(count, self.in_dim, generator=generator, dtype=torch.float64).to(dtype)
            if self.in_dim == len(PFO_FEATURES):
                event["pfo"].inputs[:, :4] = event["pfo"].x[:, :4]
        return events

    def run(self, module: Callable[..., Any], batch: HeteroData) -> Tensor:
        """Embeddings of the PFOs [P, out_dim]."""
        pfo = batch["pfo"]
        needs = getattr(module, "needs", ())
        further = {"momentum": pfo_momentum(batch)} if "momentum" in needs else {}
        ptr = pfo.get("ptr", torch.tensor([0, len(pfo.x)]))
        return module(pfo.inputs, pfo.pos, ptr, pfo.get("max_length"), **further)

    def rows(self, batch: HeteroData) -> int:
        """One row for each PFO."""
        return len(batch["pfo"].x)


@dataclass
class TaggerUnderTest(Subject):
    """A tagger, called with a batch that holds what its ``needs`` say.

    Attributes:
        jet_features: names of the jet features that it was built for. Default: pt, eta, phi, mass.
    """

    jet_features: tuple[str, ...] | None = None

    kind = "tagger"

    def __post_init__(self) -> None:
        super().__post_init__()
        example = self.build()
        self.level = getattr(example, "level", "jet")
        self.needs = frozenset(getattr(example, "needs", ()))

    def events(
        self, num_pfos: Sequence[int], num_jets: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> list[HeteroData]:
        """Events with the fields that the tagger needs."""
        return random_events(num_pfos, num_jets, self.needs, self.jet_features, dtype, self.next_seed())

    def fit(self, module: nn.Module, batch: HeteroData) -> None:
        """Its normalisation."""
        module.fit_normalisation(batch)  # type: ignore[operator]

    def run(self, module: Callable[..., Any], batch: HeteroData) -> Tensor:
        """Logits [J, C], or [B, C] of a tagger of whole events."""
        return module(batch)

    def rows(self, batch: HeteroData) -> int:
        """One row for each jet or each event."""
        if self.level == "event":
            return int(batch["pfo"].ptr.numel()) - 1 if "ptr" in batch["pfo"] else 1
        return len(batch["jet"].x)


def batch_of(subject: Subject, num_pfos: Sequence[int], num_jets: Sequence[int], **options: Any) -> HeteroData:
    """A new batch for a subject; arguments as of :meth:`Subject.events`."""
    return joined(subject.events(num_pfos, num_jets, **options))
