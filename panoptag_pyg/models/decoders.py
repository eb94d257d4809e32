"""Jet query decoders by name: how jets read the event's embedding."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError, NoAttentionError, suggest
from panoptag_pyg.nn import MAB, GeometricAttention
from panoptag_pyg.ops import Attention


class CrossAttentionDecoder(nn.ModuleList):
    r"""The paper's decoder: :math:`Z^{l+1} = \mathrm{MAB}(Z^l, H)`, jets as queries to all PFOs of their event.

    Args:
        dim: width.
        num_heads: attention heads.
        num_layers: L.

    Shapes:
        jets [J, dim], PFOs [P, dim] → [J, dim].

    Source: Qureshi, Bullard, Schwartzman, *PanopTag*, arXiv:2601.16417.
    """

    def __init__(self, dim: int, num_heads: int, num_layers: int) -> None:
        super().__init__(self.layer(dim, num_heads) for _ in range(num_layers))

    def layer(self, dim: int, num_heads: int) -> MAB:
        """One layer; a subclass may choose another attention."""
        return MAB(dim, num_heads)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in self:
            layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        jets: Tensor,
        pfos: Tensor,
        jet_ptr: Tensor,
        pfo_ptr: Tensor,
        positions: tuple[Tensor, Tensor],
        edge_index: Tensor | None = None,
        max_lengths: tuple[int | None, int | None] = (None, None),
        return_attention: bool = False,
    ) -> tuple[Tensor, Attention | None]:
        """Read the event.

        Args:
            jets: embedding of the jets' kinematics.
            pfos: embedding of the PFOs.
            jet_ptr: first jet of each event.
            pfo_ptr: first PFO of each event.
            positions: (η, φ) of jets [J, 2] and PFOs [P, 2].
            edge_index: jet→PFO edges to attend along. Default: all of the same event.
            max_lengths: most jets and PFOs in one event, where known.
            return_attention: also return the last layer's weights. Default ``False``.

        Raises:
            ConfigError: if attention is asked of a decoder without layers.
        """
        if return_attention and len(self) == 0:
            raise NoAttentionError("a model without decoder layers has no attention to return")
        attention = None
        for number, layer in enumerate(self, 1):
            wanted = return_attention and number == len(self)
            jets = layer(jets, pfos, jet_ptr, pfo_ptr, edge_index, max_lengths, wanted, positions)
            if wanted:
                jets, attention = jets
        return jets, attention

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} layers)"


class GeometricDecoder(CrossAttentionDecoder):
    """The same with :class:`~panoptag_pyg.nn.GeometricAttention`: jets begin by looking around their axis.

    Not the paper's. Each head adds one parameter: the scale in (η, φ) at which it looks.
    """

    def layer(self, dim: int, num_heads: int) -> MAB:
        """One layer with geometric attention."""
        return MAB(dim, num_heads, GeometricAttention(dim, num_heads))


_DECODERS: dict[str, Callable[..., nn.Module]] = {
    "cross_attention": CrossAttentionDecoder,
    "geometric": GeometricDecoder,
}


def register_decoder(name: str, cls: Callable[..., nn.Module]) -> None:
    """Make ``PanopTag(decoder=name)`` call ``cls(dim, num_heads, num_layers)``."""
    _DECODERS[name] = cls


def decoder_names() -> list[str]:
    """Names of all decoders."""
    return sorted(_DECODERS)


def build_decoder(name: str, dim: int, num_heads: int, num_layers: int) -> nn.Module:
    """Build a jet query decoder.

    Args:
        name: a name of :func:`decoder_names`.
        dim: width.
        num_heads: attention heads.
        num_layers: layers.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name not in _DECODERS:
        raise ConfigError(f"there is no decoder '{name}'{suggest(name, _DECODERS)}")
    return _DECODERS[name](dim, num_heads, num_layers)
