"""ParticleNet: edge convolutions on one jet's constituents, nearest neighbours found anew in every layer's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.jets import JetView
from panoptag_pyg.models import weaver
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.models.weaver_tagger import WeaverTagger
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.nn.particle_edge_conv import ParticleEdgeConv
from panoptag_pyg.ops import segment_reduce

CONV_PARAMS = ((16, (64, 64, 64)), (16, (128, 128, 128)), (16, (256, 256, 256)))
#: weaver-core 0.5's arguments and defaults.
WEAVER_DEFAULTS: dict[str, Any] = {
    "input_dims": None,
    "num_classes": None,
    "conv_params": ((7, (32, 32, 32)), (7, (64, 64, 64))),
    "fc_params": ((128, 0.1),),
    "use_fusion": True,
    "use_fts_bn": True,
    "use_counts": True,
    "trim": True,
    "for_inference": False,
    "for_segmentation": False,
    "use_amp": False,
    "compile_model": False,
}
_ONLY: dict[str, tuple[Any, ...]] = {"for_inference": (False,), "for_segmentation": (False,)}


@register_tagger("particlenet", paper="arXiv:1902.08570")
class ParticleNet(WeaverTagger):
    r"""ParticleNet: edge convolutions on one jet's constituents, whose neighbours each layer finds anew.

    .. math::
        x^0 = \mathrm{BN}(f), \quad x^{l+1} = \mathrm{EdgeConv}_l(x^l), \quad
        z = \frac1n \sum_i x^L_i, \quad \text{logits} = \mathrm{MLP}(z)

    The defaults are the published size: three blocks, k = 16. Arguments are named as in weaver-core, whose state dicts
    :meth:`from_weaver` takes. Jets stay ragged; a jet without constituents has the embedding 0.

    Args:
        num_classes: C. Default 3: light, c, b.
        features: what is known of a constituent: ``"panoptag"`` (default), ``"raw"``, ``"jetclass_full"``,
            ``"jetclass_kinpid"`` or ``"jetclass_kin"``; see :class:`~panoptag_pyg.models.jet_inputs.JetInputs`. With
            ``pretrained``, ``"jetclass_full"``.
        conv_params: neighbours and widths of each block. Default: the published ones.
        fc_params: (width, dropout) of the head's hidden layers. Default ((256, 0.1),).
        use_fusion: join all blocks' outputs by one more layer. Default ``False``, as in the authors' configuration;
            weaver-core's class has ``True``.
        use_fts_bn: batch normalisation of the inputs. Default ``True``.
        use_counts: taken for weaver-core's sake, and without effect: the mean is over the constituents that there are;
            with ``False``, weaver-core divides by the padded length instead. Default ``True``.
        pretrained: a state dict that weaver-core saved, to begin from; its head is kept where it has as many classes,
            and drawn anew where not. Read when training begins. Default: none.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for values that don't fit or aren't supported.
        CheckpointError: when first used, for a ``pretrained`` of another architecture.

    Source: Qu, Gouskos, *ParticleNet: Jet Tagging via Particle Clouds*, arXiv:1902.08570.
    """

    input_argument = "input_dims"
    network: ParticleNetNetwork

    def __init__(
        self,
        num_classes: int = 3,
        features: str | None = None,
        conv_params: Sequence[tuple[int, Sequence[int]]] = CONV_PARAMS,
        fc_params: Sequence[Sequence[Any]] = ((256, 0.1),),
        use_fusion: bool = False,
        use_fts_bn: bool = True,
        use_counts: bool = True,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        arguments = {name: value for name, value in locals().items() if name in WEAVER_DEFAULTS}
        self._build_from_recipe(features, pretrained, arguments)

    @classmethod
    def _checked(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        checked = weaver.checked_arguments("ParticleNet", arguments, WEAVER_DEFAULTS, _ONLY)
        if not checked["conv_params"] or not checked["fc_params"]:
            raise ConfigError("conv_params and fc_params need at least one block and one layer")
        return checked

    def _build_network(self, arguments: Mapping[str, Any]) -> None:
        self.network = ParticleNetNetwork(
            arguments["input_dims"], arguments["conv_params"], arguments["use_fusion"], arguments["use_fts_bn"]
        )
        self.dim = self.network.dim

    def _encode(self, x: Tensor, jets: JetView) -> Tensor:
        return self.network(x, jets.pos, jets.ptr)


class ParticleNetNetwork(nn.Module):
    """From inputs and positions of constituents to an embedding of each jet.

    Args:
        in_dim: F.
        conv_params: neighbours and widths of each block.
        use_fusion: join all blocks' outputs.
        use_fts_bn: batch normalisation of the inputs.

    Shapes:
        x [N, F], pos [N, 2], ptr [J+1] → [J, dim].
    """

    def __init__(
        self, in_dim: int, conv_params: Sequence[tuple[int, Sequence[int]]], use_fusion: bool, use_fts_bn: bool
    ) -> None:
        super().__init__()
        self.bn_fts = RowBatchNorm(in_dim) if use_fts_bn else None
        outs = [widths[-1] for _, widths in conv_params]
        self.edge_convs = nn.ModuleList(
            ParticleEdgeConv(k, width, widths)
            for width, (k, widths) in zip([in_dim, *outs[:-1]], conv_params, strict=True)
        )
        self.dim = outs[-1]
        self.fusion_block = None
        if use_fusion:
            self.dim = min(max(sum(outs) // 128 * 128, 128), 1024)
            self.fusion_block = nn.Sequential(
                nn.Linear(sum(outs), self.dim, bias=False), RowBatchNorm(self.dim), nn.ReLU()
            )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.bn_fts, *self.edge_convs, *(self.fusion_block or ())):
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()

    def forward(self, x: Tensor, pos: Tensor, ptr: Tensor) -> Tensor:
        x = x.to(self.edge_convs[0].convs[0].weight.dtype)  # type: ignore[union-attr, index, arg-type]
        x = x if self.bn_fts is None else self.bn_fts(x)
        outputs, coordinates = [], pos
        for conv in self.edge_convs:
            x = conv(x, coordinates, ptr)
            coordinates = x
            outputs.append(x)
        if self.fusion_block is not None:
            x = self.fusion_block(torch.cat(outputs, dim=1))
        return segment_reduce(x, ptr, "mean")

    def __repr__(self) -> str:
        return (
            f"{', '.join(repr(conv) for conv in self.edge_convs)}{', fused' if self.fusion_block is not None else ''}"
        )
