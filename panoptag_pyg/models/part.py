"""Particle Transformer: a transformer over one jet's constituents, biased by their momenta, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.jets import JetView
from panoptag_pyg.models import weaver
from panoptag_pyg.models.registry import register_tagger
from panoptag_pyg.models.weaver_tagger import WeaverTagger
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.nn.pair_bias import PairBias
from panoptag_pyg.nn.particle_block import BlockOptions, ParticleBlock, draw_anew, with_tokens
from panoptag_pyg.ops import segment_reduce
from panoptag_pyg.ops.ragged import sorted_by_length

#: weaver-core 0.5's arguments and defaults.
WEAVER_DEFAULTS: dict[str, Any] = {
    "input_dim": None,
    "num_classes": None,
    "pair_input_type": "pp",
    "pair_input_dim": None,
    "pair_extra_dim": 0,
    "remove_self_pair": False,
    "use_pre_activation_pair": True,
    "use_conv_embed": False,
    "embed_dims": (128, 512, 128),
    "pair_embed_dims": (64, 64, 64),
    "pair_embed_sparse_eval": None,
    "num_heads": 8,
    "num_layers": 8,
    "block_params": None,
    "block_ids_with_attn_mask": None,
    "include_global_token": False,
    "num_cls_layers": 2,
    "cls_block_params": None,
    "fc_params": (),
    "activation": "gelu",
    "version": 1,
    "weight_init": "moco",
    "fix_init": True,
    "trim": True,
    "for_inference": False,
    "for_segmentation": False,
    "use_amp": False,
    "compile_model": False,
}
_ONLY: dict[str, tuple[Any, ...]] = {
    "pair_input_type": ("pp",),
    "pair_extra_dim": (0,),
    "use_conv_embed": (False,),
    "include_global_token": (False,),
    "for_inference": (False,),
    "for_segmentation": (False,),
    "activation": ("gelu", "relu"),
    "version": (1, 2, 3, 3.5),
}


@register_tagger("part", paper="arXiv:2202.03772")
class ParticleTransformer(WeaverTagger):
    r"""Particle Transformer (ParT): one jet's constituents attend to each other with a bias from their momenta.

    .. math::
        x^0 = \mathrm{embed}(f), \quad x^{l+1} = \mathrm{block}_l\big(x^l, u(p_i, p_j)\big), \quad
        z = \mathrm{class\ blocks}(x^L), \quad \text{logits} = W\,\mathrm{LN}(z) + b

    The defaults are the published size, 2.14 million parameters. Arguments are named as in weaver-core, whose state
    dicts :meth:`from_weaver` takes. Jets stay ragged: no constituent is padded. A jet without constituents is tagged by
    the class token alone.

    Args:
        num_classes: C. Default 3: light, c, b.
        features: what is known of a constituent: ``"panoptag"`` (default), ``"raw"``, ``"jetclass_full"``,
            ``"jetclass_kinpid"`` or ``"jetclass_kin"``; see :class:`~panoptag_pyg.models.jet_inputs.JetInputs`. With
            ``pretrained``, ``"jetclass_full"``.
        pair_input_dim: pairwise features: 4 (default: ln kT, ln z, ln Δ, ln m²), 1, 3 or 5; 0 for no bias.
        remove_self_pair: no bias for a particle and itself. Default ``False``.
        use_pre_activation_pair: leave the bias as it is before the last activation. Default ``False``, as in the
            authors' configuration; weaver-core's class has ``True``.
        embed_dims: widths of the input MLP; the last is that of the blocks. Default (128, 512, 128).
        pair_embed_dims: hidden widths of the pairs' MLP. Default (64, 64, 64).
        num_heads: attention heads. Default 8.
        num_layers: blocks of attention among particles. Default 8.
        block_params: changes to :class:`~panoptag_pyg.nn.particle_block.BlockOptions`, such as ``{"dropout": 0.0}``.
        block_ids_with_attn_mask: blocks that get the bias. Default: all.
        num_cls_layers: class-attention blocks; with 0, the mean over particles is taken. Default 2.
        cls_block_params: as ``block_params``, for the class-attention blocks, which have no dropout by default.
        fc_params: (width, dropout) of hidden layers of the head, each with ReLU. Default: none.
        activation: ``"gelu"`` (default) or ``"relu"``; the pairs' MLP has GELU in any case, as in weaver-core.
        version: weaver-core's 1 (default: as published), 2, 3 or 3.5: presets of the options above.
        pretrained: a state dict that weaver-core saved, to begin from; its head is kept where it has as many classes,
            and drawn anew where not. Read when training begins, so a trained run doesn't need it any more. Default:
            none.

    Shapes:
        a batch with ``"constituents"`` → logits [J, C].

    Raises:
        ConfigError: for values that don't fit or aren't supported.
        CheckpointError: when first used, for a ``pretrained`` of another architecture.

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772.
    """

    input_argument = "input_dim"
    network: ParticleTransformerNetwork

    def __init__(
        self,
        num_classes: int = 3,
        features: str | None = None,
        pair_input_dim: int = 4,
        remove_self_pair: bool = False,
        use_pre_activation_pair: bool = False,
        embed_dims: Sequence[int] = (128, 512, 128),
        pair_embed_dims: Sequence[int] | None = (64, 64, 64),
        num_heads: int = 8,
        num_layers: int = 8,
        block_params: Mapping[str, Any] | None = None,
        block_ids_with_attn_mask: Sequence[int] | None = None,
        num_cls_layers: int = 2,
        cls_block_params: Mapping[str, Any] | None = None,
        fc_params: Sequence[Sequence[Any]] = (),
        activation: str = "gelu",
        version: float = 1,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        arguments = {name: value for name, value in locals().items() if name in WEAVER_DEFAULTS}
        self._build_from_recipe(features, pretrained, arguments)

    @classmethod
    def weaver_names(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """weaver-core's tensors by our names; also those of its early releases, which had torch's own attention."""
        return {
            name.replace("in_proj_weight", "in_proj.weight").replace("in_proj_bias", "in_proj.bias"): value
            for name, value in super().weaver_names(state_dict).items()
        }

    @classmethod
    def _checked(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return weaver.checked_arguments("ParticleTransformer", arguments, WEAVER_DEFAULTS, _ONLY)

    def _build_network(self, arguments: Mapping[str, Any]) -> None:
        self.network = ParticleTransformerNetwork(arguments)
        self.dim = self.network.dim

    def _encode(self, x: Tensor, jets: JetView) -> Tensor:
        return self.network(x, jets.momentum, jets.ptr, jets.max_length)

    def _draw_head(self) -> None:
        draw_anew(self.head)


class ParticleTransformerNetwork(nn.Module):
    """From inputs and momenta of constituents to an embedding of each jet.

    Args:
        arguments: weaver-core's, all of them.

    Shapes:
        x [N, input_dim], momentum [N, 4] (E, px, py, pz), ptr [J+1] → [J, dim].
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        a = arguments
        if len(a["embed_dims"]) == 0:
            raise ConfigError("embed_dims needs at least one width")
        particle, token = block_options(a)
        dim = self.dim = particle.embed_dim
        self.embed = _Embed(a["input_dim"], a["embed_dims"], a["activation"])
        num_pair_features = 4 if a["pair_input_dim"] is None else a["pair_input_dim"]
        self.pair_embed: PairBias | None = None
        if a["pair_embed_dims"] is not None and num_pair_features:
            if num_pair_features not in (1, 3, 4, 5):
                raise ConfigError(f"pair_input_dim = {num_pair_features} is not supported, only 0, 1, 3, 4 or 5")
            self.pair_embed = PairBias(
                [num_pair_features, *a["pair_embed_dims"], particle.num_heads],
                last_activation=not a["use_pre_activation_pair"],  # and GELU always, as in weaver-core
                self_pairs=not a["remove_self_pair"],
                bias=a["version"] < 3,
            )
        self.blocks = nn.ModuleList(ParticleBlock(particle) for _ in range(a["num_layers"]))
        self.cls_blocks = nn.ModuleList(ParticleBlock(token) for _ in range(a["num_cls_layers"]))
        chosen = a["block_ids_with_attn_mask"]
        self.biased = [chosen is None or i in {c % a["num_layers"] for c in chosen} for i in range(a["num_layers"])]
        self.norm: nn.Module = nn.RMSNorm(dim) if a["version"] >= 3 else nn.LayerNorm(dim)
        self.cls_token = nn.Parameter(torch.empty(dim)) if a["num_cls_layers"] else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, those that end a residual branch smaller with depth."""
        draw_anew(self.embed)
        draw_anew(self.norm)
        if self.pair_embed is not None:
            self.pair_embed.reset_parameters()
        for block in (*self.blocks, *self.cls_blocks):
            block.reset_parameters()  # type: ignore[operator]
        with torch.no_grad():
            for depth, block in enumerate(self.blocks, start=1):
                for linear in (block.attn.out_proj, block.fc2):  # type: ignore[union-attr]
                    linear.weight.div_((2.0 * depth) ** 0.5)  # type: ignore[union-attr, operator]
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, momentum: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
        num_particles, num_jets = x.size(0), ptr.size(0) - 1
        # Jets of equal length side by side: attention then runs on blocks that are where they are.
        order, rows, ptr = sorted_by_length(ptr, num_particles)
        sets = torch.repeat_interleave(torch.arange(num_jets, device=ptr.device), ptr.diff(), output_size=num_particles)
        momentum = momentum[rows]
        x = self.embed(x[rows].to(self.norm.weight.dtype))  # type: ignore[arg-type]
        bias = None if self.pair_embed is None else self.pair_embed(momentum, ptr)
        for block, biased in zip(self.blocks, self.biased, strict=True):
            x = block(x, bias if biased else None, ptr, sets, max_length)
        if self.cls_token is None:
            z = segment_reduce(x, ptr, "mean")
        else:
            z = self.cls_token.expand(num_jets, -1)
            with_token = with_tokens(ptr, num_particles)
            for block in self.cls_blocks:
                z = block.class_attention(z, x, ptr, with_token, max_length)  # type: ignore[operator]
        z = self.norm(z)
        return torch.empty_like(z).index_copy(0, order, z)

    def __repr__(self) -> str:
        return f"{self.pair_embed!r}, {len(self.blocks)} × {self.blocks[0]!r}, {len(self.cls_blocks)} class blocks"


class _Embed(nn.Module):
    """Batch normalisation, then layer normalisation, linear layer and activation for each width."""

    def __init__(self, in_dim: int, dims: Sequence[int], activation: str) -> None:
        super().__init__()
        self.input_bn = RowBatchNorm(in_dim)
        layers: list[nn.Module] = []
        for dim in dims:
            layers += [nn.LayerNorm(in_dim), nn.Linear(in_dim, dim), nn.GELU() if activation == "gelu" else nn.ReLU()]
            in_dim = dim
        self.embed = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.input_bn(x))


def block_options(arguments: Mapping[str, Any]) -> tuple[BlockOptions, BlockOptions]:
    """Make-up of the particle and of the class blocks, as weaver-core derives it from its arguments."""
    embed_dims, version = arguments["embed_dims"], arguments["version"]
    common: dict[str, Any] = {
        "embed_dim": embed_dims[-1],
        "num_heads": arguments["num_heads"],
        "activation": arguments["activation"],
    }
    if version > 1:
        unscaled = dict.fromkeys(("scale_fc", "scale_attn", "scale_heads", "scale_resids"), False)
        common |= {"activation": "swiglu", **unscaled}
    if version > 2:
        common |= {"use_rmsnorm": True, "use_bias": False, "drop_path_rate": 0.1}
        common |= {"dropout": 0.0, "attn_dropout": 0.0, "activation_dropout": 0.0}
    if version > 3:
        common |= {"use_qk_norm": True, "elementwise_attn_output_gate": True}
    known = [field.name for field in fields(BlockOptions)]
    made = []
    for name, preset in (
        ("block_params", {}),
        ("cls_block_params", {"dropout": 0.0, "attn_dropout": 0.0, "activation_dropout": 0.0}),
    ):
        changes = dict(arguments[name] or {})
        changes.pop("for_inference", None)
        for key in changes:
            if key not in known:
                raise ConfigError(f"{name} has no option '{key}'{suggest(key, known)}")
        options = BlockOptions(**{**common, **preset, **changes})
        if options.embed_dim % options.num_heads:
            raise ConfigError(
                f"num_heads must divide the last of embed_dims, got {options.num_heads} and {options.embed_dim}"
            )
        made.append(options)
    return made[0], made[1]
