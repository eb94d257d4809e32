"""An exported tagger as one that our batches go into: for evaluation, parity and everybody who stays in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.export.interface import Interface, inputs_of

#: From inputs by name to logits.
Run = Callable[[Mapping[str, Tensor]], Tensor]


class ExportedTagger(nn.Module):
    """A tagger that was exported, called with batches as the tagger itself is.

    Args:
        run: calls the exported graph.
        interface: what it takes and gives.
        runtime: what runs it, such as ``"onnxruntime 1.32.0"``.

    Shapes:
        a batch → logits [J, C]; [B, C] of a tagger of whole events. A graph of one event is called once for each.

    Example:
        >>> tagger = load_onnx("panoptag.onnx")
        >>> logits = tagger(next(iter(EventLoader(EventDataset("data/sample"), batch_size=8))))
    """

    def __init__(self, run: Run, interface: Interface, runtime: str) -> None:
        super().__init__()
        self._run = run
        self.interface, self.runtime = interface, runtime
        self.level: str = interface.description["level"]
        self.num_classes = int(interface.output.shape[-1])
        self.needs = frozenset({"constituents"} if interface.needs_constituents else ())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.interface.description["classes"])

    @torch.no_grad()
    def forward(self, batch: HeteroData) -> Tensor:
        """Logits of every jet of the batch, or of every event.

        Args:
            batch: as :class:`~panoptag_pyg.events.EventLoader` gives it, with the fields in ``needs``.
        """
        answers = [self._run(inputs) for inputs in inputs_of(batch, self.interface)]
        return torch.cat(answers) if answers else torch.empty(0, self.num_classes)

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.interface.inputs))
        return f"ExportedTagger({self.interface.description['tagger']} by {self.runtime}: {inputs})"
