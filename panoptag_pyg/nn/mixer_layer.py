"""MLP-Mixer's layer: one MLP across tokens, one across channels."""

from __future__ import annotations

from torch import Tensor, nn

from panoptag_pyg.nn.mlp import MLP


class MixerLayer(nn.Module):
    r"""Mix M tokens with each other in each channel, then the channels of each token.

    .. math::
        U_{*c} = X_{*c} + W_2\, \mathrm{GELU}\big(W_1\, \mathrm{LN}(X)_{*c}\big), \qquad
        Y_{m*} = U_{m*} + W_4\, \mathrm{GELU}\big(W_3\, \mathrm{LN}(U)_{m*}\big)

    with biases. It knows tokens by their places: no layer for particles, which have no order, but for learned tokens.

    Args:
        num_tokens: M.
        dim: channels.
        token_expansion: inner width of the MLP across tokens, in M. Default 2.
        channel_expansion: inner width of the MLP across channels, in ``dim``. Default 4.

    Shapes:
        x [B, M, dim] → [B, M, dim].

    Source: Tolstikhin et al., *MLP-Mixer*, arXiv:2105.01601, eq. 1.
    """

    def __init__(self, num_tokens: int, dim: int, token_expansion: int = 2, channel_expansion: int = 4) -> None:
        super().__init__()
        self.token_norm, self.channel_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across_tokens = MLP([num_tokens, token_expansion * num_tokens, num_tokens])
        self.across_channels = MLP([dim, channel_expansion * dim, dim])

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.token_norm, self.channel_norm, self.across_tokens, self.across_channels):
            layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across_tokens(self.token_norm(x).mT).mT
        return x + self.across_channels(self.channel_norm(x))

    def __repr__(self) -> str:
        tokens, channels = self.across_tokens.channels, self.across_channels.channels
        return f"MixerLayer(num_tokens={tokens[0]}, dim={channels[0]}, hidden=({tokens[1]}, {channels[1]}))"
