"""The backbone keeps all that panoptag-pyg asks of one."""

from functools import partial

from panoptag_pyg.backbones import build_backbone
from panoptag_pyg.testing import check_backbone


def test_neighbour_mean() -> None:
    check_backbone(partial(build_backbone, "neighbour_mean", dim=16, k=4))
