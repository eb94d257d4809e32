"""weaver-core's own Particle Transformer and ParticleNet at their papers' sizes, on the jets of a batch of events.

``pip install --no-deps weaver-core``; nothing here imports it before it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, pfo_features, wrap_phi

INSTALL = "pip install --no-deps weaver-core"
#: ParticleNet's 16 neighbours besides the point itself: shorter inputs can't be given to it.
SHORTEST = 17
#: Length to which weaver's configurations and exported models pad.
LONGEST = 128


@dataclass
class Jets:
    """Constituents of jets, padded with zeros: what weaver's taggers take.

    Attributes:
        points: (Δη, Δφ) [J, 2, N].
        features: the 14 of :data:`panoptag_pyg.events.features.CONSTITUENT_FEATURES` [J, 14, N].
        vectors: px, py, pz, E [J, 4, N].
        mask: 1 where a constituent is real [J, 1, N].
    """

    points: Tensor
    features: Tensor
    vectors: Tensor
    mask: Tensor

    def select(self, jets: Tensor, length: int | None = None) -> Jets:
        """Some jets, cut or padded to ``length``. Default: the longest of them."""
        mask = self.mask[jets]
        if length is None:
            length = max(int(mask.sum(-1).max()), SHORTEST)
        more = max(length - mask.size(-1), 0)
        parts = (self.points[jets], self.features[jets], self.vectors[jets], mask)
        return Jets(*(nn.functional.pad(part[..., :length], (0, more)).contiguous() for part in parts))

    def to(self, device: torch.device) -> Jets:
        """On another device."""
        return Jets(*(part.to(device) for part in (self.points, self.features, self.vectors, self.mask)))


def jets_of(block: EventBlock) -> Jets:
    """The jets of some events with the constituents that the block still has."""
    rows, jet = block.constituent_pfo, block.constituent_jet
    lengths = np.diff(block.constituent_offsets)
    place = np.arange(len(rows)) - block.constituent_offsets[jet]
    longest = max(int(lengths.max(initial=0)), SHORTEST)
    pfo = {name: values[rows] for name, values in block.pfo.items()}
    delta_eta = pfo["eta"] - block.jet["eta"][jet]
    delta_phi = wrap_phi(pfo["phi"].astype(np.float64) - block.jet["phi"][jet])
    features = pfo_features(pfo)
    features[:, 0], features[:, 1] = delta_eta, delta_phi
    assert features.shape[1] == len(CONSTITUENT_FEATURES)
    pt = pfo["pt"]
    vectors = np.stack(
        [pt * np.cos(pfo["phi"]), pt * np.sin(pfo["phi"]), pt * np.sinh(pfo["eta"]), pfo["energy"]], axis=1
    )

    def padded(values: np.ndarray) -> Tensor:
        full = np.zeros((len(lengths), values.shape[1], longest), np.float32)
        full[jet, :, place] = values
        return torch.from_numpy(full)

    return Jets(padded(features[:, :2]), padded(features), padded(vectors), padded(np.ones((len(rows), 1))))


def particle_transformer(num_classes: int = 3) -> nn.Module:
    """ParT: 8 particle and 2 class-attention blocks, d = 128, 8 heads, 4 pairwise features; 2.14 million parameters."""
    _quiet()
    from weaver.nn.model.ParticleTransformer import ParticleTransformer

    return ParticleTransformer(
        input_dim=len(CONSTITUENT_FEATURES),
        num_classes=num_classes,
        pair_input_dim=4,
        embed_dims=[128, 512, 128],
        pair_embed_dims=[64, 64, 64],
        num_heads=8,
        num_layers=8,
        num_cls_layers=2,
        fc_params=[],
        activation="gelu",
        trim=False,  # the batches are cut to their longest jet already
    ).eval()


def particle_net(num_classes: int = 3) -> nn.Module:
    """ParticleNet: three EdgeConv blocks, k = 16, widths 64, 128, 256, and a layer of 256."""
    _quiet()
    from weaver.nn.model.ParticleNet import ParticleNet

    return ParticleNet(
        input_dims=len(CONSTITUENT_FEATURES),
        num_classes=num_classes,
        conv_params=[(16, (64, 64, 64)), (16, (128, 128, 128)), (16, (256, 256, 256))],
        fc_params=[(256, 0.1)],
        use_fusion=False,
        use_fts_bn=True,
        use_counts=True,
        trim=False,  # which would cut below the 17 that its neighbours take
    ).eval()


def tagger_call(model: nn.Module, jets: Jets) -> Callable[[], Tensor]:
    """Logits [J, C] of these jets."""
    if type(model).__name__ == "ParticleNet":
        return lambda: model(jets.points, jets.features, jets.mask)
    return lambda: model(jets.features, v=jets.vectors, mask=jets.mask)


def ways_to_batch(jets: Jets, batching: str) -> dict[str, list[tuple[Tensor, Jets]]]:
    """How the jets may be given to a tagger, each with the rows of its jets: the quickest is for the bench to find.

    Args:
        jets: all of them.
        batching: ``"in order"``; ``"by length"``: batches of jets of similar length, which weaver doesn't make;
            ``"padded"``: all to :data:`LONGEST`, in order; ``"together"``: one batch, as the events' jets come.

    Returns:
        jets per batch, as a word → its batches.
    """
    order = torch.arange(len(jets.mask), device=jets.mask.device)
    if batching == "by length":
        order = jets.mask.sum(dim=(1, 2)).argsort(stable=True)
    length = LONGEST if batching == "padded" else None
    sizes = [size for size in (16, 64) if size < len(order)] + [max(len(order), 1)]
    if batching == "padded":
        sizes = sizes[:1]  # all the same, and slow
    elif batching == "together":
        sizes = sizes[-1:]
    return {str(size): [(rows, jets.select(rows, length)) for rows in order.split(size)] for size in sizes}


def _quiet() -> None:
    # Its models log all of their arguments.
    logging.getLogger("weaver").setLevel(logging.WARNING)
