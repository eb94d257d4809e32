"""MLP-Mixer on sets of up to M tokens: places that nobody takes neither say nor hear anything."""

from __future__ import annotations

from torch import Tensor

from panoptag_pyg.nn.mixer_layer import MixerLayer


class MaskedMixerLayer(MixerLayer):
    r"""Mix up to M tokens with each other in each channel, then the channels of each token.

    The numbers of :class:`MixerLayer` with empty places set to 0 before and after the MLP across tokens; without
    empty places the same.

    Args:
        num_tokens: M, the number of places.
        dim: channels.
        token_expansion: inner width of the MLP across tokens, in M. Default 2.
        channel_expansion: inner width of the MLP across channels, in ``dim``. Default 4.

    Shapes:
        x [J, M, dim], taken bool [J, M] → [J, M, dim], 0 at empty places.

    Source: Tolstikhin et al., *MLP-Mixer*, arXiv:2105.01601, eq. 1.
    """

    def forward(self, x: Tensor, taken: Tensor) -> Tensor:  # type: ignore[override]
        mask = taken.unsqueeze(-1).to(x.dtype)
        x = x + self.across_tokens((self.token_norm(x) * mask).mT).mT
        return (x + self.across_channels(self.channel_norm(x))) * mask
