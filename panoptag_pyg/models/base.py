"""What every tagger is: called with a batch of events, answers for each of its jets."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import Attention, ptr_from_batch


class Embeddings(NamedTuple):
    """What a tagger knows before its head.

    Attributes:
        jets: one row for each jet of the batch [J, dim]; of a tagger of whole events, one for each event [B, dim].
        pfos: one row for each PFO [P, dim]; ``None`` of a tagger that sees one jet at a time.
        attention: what the jets looked at, if it was asked for.
    """

    jets: Tensor
    pfos: Tensor | None = None
    attention: Attention | None = None


class Tagger(nn.Module):
    """Base class of the taggers.

    A subclass sets ``dim``, ``num_classes`` and ``head`` and gives :meth:`embed` and :meth:`fit_normalisation`.

    Attributes:
        needs: fields of the batch beyond the usual ones, as :class:`~panoptag_pyg.events.EventDataset` takes them.
        level: ``"jet"`` if there is a row of logits for each jet, ``"event"`` if for each event.
        embeds_pfos: whether :meth:`embed` gives embeddings of the PFOs, which heads for PFOs need.
        dim: width of the embeddings.
        num_classes: C.
        head: from an embedding to the logits.
    """

    needs: frozenset[str] = frozenset()
    level: str = "jet"
    embeds_pfos: bool = False
    dim: int
    num_classes: int
    head: nn.Module

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take means and deviations of the features from training events; once, before training.

        Args:
            batch: some hundreds of raw training events, with the fields that the tagger needs.

        Raises:
            NotImplementedError: a tagger has to normalise its inputs itself.
        """
        raise NotImplementedError

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each jet, and of each PFO where the tagger has one.

        Args:
            batch: events, as :class:`~panoptag_pyg.events.EventLoader` or PyG batch them, or a single one.
            return_attention: also what the jets looked at. Default ``False``.

        Raises:
            NotImplementedError: a tagger has to say how it sees a jet.
        """
        raise NotImplementedError

    def drop_jets(self) -> None:
        """Take off what only jets need, because all heads ask about PFOs; nothing by default."""

    def forward(self, batch: HeteroData, return_attention: bool = False) -> Tensor | tuple[Tensor, Attention]:
        """Logits of every jet of the batch, in its order [J, C]; of a tagger of whole events, of every event [B, C].

        Args:
            batch: events, as :class:`~panoptag_pyg.events.EventLoader` or PyG batch them, or a single one.
            return_attention: also return what the jets looked at. Default ``False``.
        """
        embeddings = self.embed(batch, return_attention)
        logits = self.head(embeddings.jets)
        return logits if embeddings.attention is None else (logits, embeddings.attention)


def event_ptr(store: Any) -> Tensor:
    """First row of each event, from a batch's ``ptr`` or ``batch``, or of the one event that isn't batched."""
    ptr = store.get("ptr")
    if ptr is not None:
        return ptr
    if store.get("batch") is not None:
        return ptr_from_batch(store.batch)
    return torch.tensor([0, len(store.x)], device=store.x.device)


def encode(
    backbone: nn.Module, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None, momentum: Tensor
) -> Tensor:
    """Call a backbone with what it needs and hold it to its word.

    Args:
        backbone: the encoder.
        x: normalised features [P, d_in].
        pos: (η, φ) or (Δη, Δφ) [P, 2].
        ptr: first row of each set [B + 1].
        max_length: rows of the largest set, where known.
        momentum: (E, px, py, pz) [P, 4] in GeV, given only to a backbone that needs it.

    Shapes:
        returns [P, out_dim].

    Raises:
        ConfigError: if the backbone returns another shape.
    """
    further = {"momentum": momentum} if "momentum" in getattr(backbone, "needs", ()) else {}
    h = backbone(x, pos, ptr, max_length, **further)
    expected = (x.size(0), backbone.out_dim)
    if not isinstance(h, Tensor) or h.dim() != 2 or h.size(0) != expected[0] or h.size(1) != expected[1]:
        found = list(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ConfigError(
            f"the backbone {type(backbone).__name__} returned {found}, expected {list(expected)}: "
            "a row of out_dim numbers for each of the rows it was given"
        )
    return h
