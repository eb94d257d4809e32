"""Other heads on a tagger's embedding: for events, for PFOs, for the jet of each PFO, or several at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import jet_view
from panoptag_pyg.models.base import Embeddings, Tagger, event_ptr
from panoptag_pyg.nn import MLP
from panoptag_pyg.ops import Attention
from panoptag_pyg.tasks import Head


class MultiHeadTagger(Tagger):
    """A tagger's embeddings, read by heads of their own; the tagger's own head is taken off.

    Args:
        tagger: gives :meth:`~panoptag_pyg.models.base.Tagger.embed`.
        heads: one head, or several by name.

    Shapes:
        a batch → with one head its output, with several a table of outputs by name. ``"jet"``: [J, num_outputs];
        ``"event"``: [B, num_outputs]; ``"pfo"``: [P, num_outputs]; ``"pfo_jet"``: [S], for each PFO a score of "no
        jet", then one for each jet of its event; ``"jet_constituents"`` and ``"jet_event"``: [J, num_outputs].

    Raises:
        ConfigError: for a tagger without embeddings, a head for PFOs on a tagger that gives none for them, or heads for
            jets on a tagger of whole events.
    """

    def __init__(self, tagger: nn.Module, heads: Head | Mapping[str, Head]) -> None:
        super().__init__()
        name = type(tagger).__name__
        if not isinstance(tagger, Tagger):
            raise ConfigError(f"{name} gives no embeddings, which heads for other tasks need; derive it from Tagger")
        self.single = isinstance(heads, Head)
        table: Mapping[str, Head] = {"output": heads} if isinstance(heads, Head) else heads
        for head in table.values():
            if head.kind not in ("jet", "event") and not tagger.embeds_pfos:
                raise ConfigError(
                    f"{name} sees one jet at a time and has no embedding of PFOs, which this task asks about; "
                    "take an event encoder such as panoptag"
                )
            if tagger.level == "event" and head.kind != "event":
                raise ConfigError(f"{name} answers for whole events, but the task asks about each {head.kind[:3]}")
        self.tagger = tagger
        tagger.head = _NoHead()
        if all(head.kind == "pfo" for head in table.values()):
            tagger.drop_jets()
        self.heads = nn.ModuleDict({key: build_head(head, tagger) for key, head in table.items()})
        self.needs, self.level, self.embeds_pfos = tagger.needs, tagger.level, tagger.embeds_pfos
        self.num_outputs = {key: head.num_outputs for key, head in table.items()}
        self.dim, self.num_classes = tagger.dim, next(iter(table.values())).num_outputs

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in (self.tagger, *self.heads.values()):
            layer.reset_parameters()  # type: ignore[operator]

    def only(self, name: str) -> MultiHeadTagger:
        """Take off all heads but one, whose output the model then gives by itself.

        Args:
            name: of that head, one of several.
        """
        self.heads, self.single = nn.ModuleDict({"output": self.heads[name]}), True
        self.num_classes = self.num_outputs[name]
        return self

    def fit_normalisation(self, batch: HeteroData) -> None:
        self.tagger.fit_normalisation(batch)

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        return self.tagger.embed(batch, return_attention)

    def forward(  # type: ignore[override]
        self, batch: HeteroData, return_attention: bool = False
    ) -> Tensor | dict[str, Tensor] | tuple[Tensor | dict[str, Tensor], Attention]:
        """The heads' outputs.

        Args:
            batch: events, as :class:`~panoptag_pyg.events.EventLoader` or PyG batch them, or a single one.
            return_attention: also return what the jets looked at. Default ``False``.
        """
        embeddings = self.embed(batch, return_attention)
        outputs = {name: head(embeddings, batch) for name, head in self.heads.items()}
        answer = outputs["output"] if self.single else outputs
        return answer if embeddings.attention is None else (answer, embeddings.attention)

    def __repr__(self) -> str:
        heads = ", ".join(repr(head) for head in self.heads.values())
        return f"MultiHeadTagger({type(self.tagger).__name__}, {heads})"


def with_heads(tagger: nn.Module, heads: Head | Mapping[str, Head]) -> nn.Module:
    """``tagger`` itself where it already answers as ``heads`` ask, else with heads of their own.

    Raises:
        ConfigError: as :class:`MultiHeadTagger`.
    """
    level = getattr(tagger, "level", "jet")
    return tagger if isinstance(heads, Head) and heads.kind == level else MultiHeadTagger(tagger, heads)


def linear_heads(model: nn.Module) -> nn.Module:
    """The model with each head's MLP replaced by a single linear layer: what its embeddings hold ready to read.

    Args:
        model: a tagger, or one with heads of its own; it is changed.

    Raises:
        ConfigError: for a model that isn't made of embeddings and a head.
    """
    if isinstance(model, MultiHeadTagger):
        for head in model.heads.values():
            for name, layer in head.named_children():
                if isinstance(layer, MLP):
                    setattr(head, name, MLP([layer.channels[0], layer.channels[-1]]))
    elif isinstance(model, Tagger):
        model.head = MLP([model.dim, model.num_classes])
    else:
        raise ConfigError(
            f"{type(model).__name__} gives no embeddings for a linear probe to read; derive it from Tagger"
        )
    return model


class _NoHead(nn.Identity):
    """In place of the tagger's own head."""

    def reset_parameters(self) -> None:
        """Nothing to draw."""


class _RowHead(nn.Module):
    """MLP on each row of jets or PFOs."""

    def __init__(self, kind: str, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.kind = kind
        self.mlp = MLP([dim, dim, num_outputs])

    def reset_parameters(self) -> None:
        self.mlp.reset_parameters()

    def forward(self, embeddings: Embeddings, batch: HeteroData) -> Tensor:
        return self.mlp(embeddings.jets if self.kind == "jet" else embeddings.pfos)

    def __repr__(self) -> str:
        return f"{self.kind}: {self.mlp.channels}"


class _EventHead(nn.Module):
    """MLP on mean and maximum over an event's jets and, where there are embeddings of them, its PFOs.

    How many of each there are is joined as ln(1 + n); an event without jets pools to 0.
    """

    def __init__(self, dim: int, pfos: bool, num_outputs: int) -> None:
        super().__init__()
        self.nodes = ("jet", "pfo") if pfos else ("jet",)
        self.mlp = MLP([len(self.nodes) * 2 * dim + 2, dim, num_outputs])

    def reset_parameters(self) -> None:
        self.mlp.reset_parameters()

    def forward(self, embeddings: Embeddings, batch: HeteroData) -> Tensor:
        ptrs = {node: event_ptr(batch[node]) for node in ("jet", "pfo")}
        rows = {"jet": embeddings.jets, "pfo": embeddings.pfos}
        pooled = [
            ops.segment_reduce(rows[node], ptrs[node], reduce)  # type: ignore[arg-type]
            for node in self.nodes
            for reduce in ("mean", "max")
        ]
        counts = torch.stack([ptr.diff() for ptr in ptrs.values()], dim=1).to(pooled[0].dtype)
        return self.mlp(torch.cat([*pooled, counts.log1p()], dim=1))

    def __repr__(self) -> str:
        return f"event: {self.mlp.channels}"


class _EventLogits(nn.Module):
    """MLP on the embedding of each event, of a tagger that has one."""

    def __init__(self, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.mlp = MLP([dim, dim, num_outputs])

    def reset_parameters(self) -> None:
        self.mlp.reset_parameters()

    def forward(self, embeddings: Embeddings, batch: HeteroData) -> Tensor:
        return self.mlp(embeddings.jets)

    def __repr__(self) -> str:
        return f"event: {self.mlp.channels}"


class _PooledHead(nn.Module):
    """MLP on each jet's embedding, and another on the mean embedding of its constituents or of its event's PFOs.

    Half of the outputs are of the one, half of the other, each without having seen the other. A jet without
    constituents and an event without PFOs pool to 0.
    """

    def __init__(self, kind: str, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.kind = kind
        self.jet, self.pool = MLP([dim, dim, num_outputs // 2]), MLP([dim, dim, num_outputs - num_outputs // 2])

    def reset_parameters(self) -> None:
        for layer in (self.jet, self.pool):
            layer.reset_parameters()

    def forward(self, embeddings: Embeddings, batch: HeteroData) -> Tensor:
        pfos = embeddings.pfos
        assert pfos is not None
        if self.kind == "jet_constituents":
            view = jet_view(batch)
            pooled = self.pool(ops.segment_reduce(pfos[view.pfo], view.ptr, "mean"))
        else:
            jets = event_ptr(batch["jet"]).diff()
            of_events = self.pool(ops.segment_reduce(pfos, event_ptr(batch["pfo"]), "mean"))
            pooled = of_events.repeat_interleave(jets, dim=0, output_size=len(embeddings.jets))
        return torch.cat([self.jet(embeddings.jets), pooled], dim=1)

    def __repr__(self) -> str:
        return f"{self.kind}: {self.jet.channels} and {self.pool.channels}"


class _PointerHead(nn.Module):
    r"""Scores of each PFO for "no jet" and for each jet of its event.

    .. math::
        s_{ij} = \frac{q_i \cdot k_j}{\sqrt d} - s \Big[\tfrac12 (\eta_i - \eta_j)^2 + 1 - \cos(\phi_i - \phi_j)\Big],
        \quad s_{i, \text{none}} = w \cdot h_i + b, \qquad s > 0

    with q and k linear in the embeddings of PFO and jet; the bracket is that of
    :class:`~panoptag_pyg.nn.GeometricAttention`, its sharpness s learned. Source: pointer networks, O. Vinyals et al.,
    arXiv:1506.03134, eq. 3, with a scalar product for the additive score.
    """

    #: At the start a jet axis at ΔR = 0.4 scores 4 less than one at 0.
    FIRST_SHARPNESS = 50.0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.none = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 1)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(self.FIRST_SHARPNESS)))

    def reset_parameters(self) -> None:
        for layer in (self.query, self.key, self.none):
            layer.reset_parameters()
        nn.init.constant_(self.log_sharpness, math.log(self.FIRST_SHARPNESS))

    def forward(self, embeddings: Embeddings, batch: HeteroData) -> Tensor:
        jets, pfos = embeddings.jets, embeddings.pfos
        assert pfos is not None
        pfo, jet = pairs(event_ptr(batch["pfo"]), event_ptr(batch["jet"]))
        q, k, none = self.query(pfos) / math.sqrt(jets.size(1)), self.key(jets), self.none(pfos).squeeze(-1)
        eta, phi = (batch["pfo"].pos[pfo] - batch["jet"].pos[jet]).unbind(1)
        far = eta.square() / 2 + 1 - phi.cos()
        scores = (q[pfo] * k[jet]).sum(dim=1) - self.log_sharpness.exp() * far
        # Pair e of PFO i stands behind e other pairs and i + 1 scores of "no jet".
        places = torch.arange(len(pfo), device=pfo.device) + pfo + 1
        result = scores.new_empty(len(pfo) + len(none)).index_copy(0, places, scores)
        counts = torch.bincount(pfo, minlength=len(none)) + 1
        return result.index_copy(0, counts.cumsum(0) - counts, none.to(scores.dtype))

    def __repr__(self) -> str:
        return f"pfo_jet: pointer({self.query.in_features})"


def build_head(head: Head, tagger: Tagger) -> nn.Module:
    """The module for ``head`` on the embeddings of ``tagger``."""
    if head.kind == "event":
        if tagger.level == "event":
            return _EventLogits(tagger.dim, head.num_outputs)
        return _EventHead(tagger.dim, tagger.embeds_pfos, head.num_outputs)
    if head.kind in ("jet_constituents", "jet_event"):
        return _PooledHead(head.kind, tagger.dim, head.num_outputs)
    return _PointerHead(tagger.dim) if head.kind == "pfo_jet" else _RowHead(head.kind, tagger.dim, head.num_outputs)


def pairs(pfo_ptr: Tensor, jet_ptr: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of a PFO and a jet of one event, sorted by PFO, then jet.

    Shapes: pfo_ptr [B+1], jet_ptr [B+1] → two times int64 [E].
    """
    per_event = jet_ptr.diff()
    event = torch.repeat_interleave(torch.arange(len(per_event), device=pfo_ptr.device), pfo_ptr.diff())
    per_pfo = per_event[event]
    pfo = torch.repeat_interleave(torch.arange(len(event), device=pfo_ptr.device), per_pfo)
    first = per_pfo.cumsum(0) - per_pfo
    jet = torch.arange(len(pfo), device=pfo_ptr.device) + (jet_ptr[:-1][event] - first)[pfo]
    return pfo, jet
