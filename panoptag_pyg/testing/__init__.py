"""Check a backbone or tagger of yours in three lines: symmetries, odd events, gradients, learning, saving, compiling.

    from panoptag_pyg.testing import check_backbone

    def test_my_backbone():
        check_backbone(lambda in_dim: MyBackbone(in_dim, dim=16))

Every network that comes with the package passes the same checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.testing.checks import (
    CHECKS,
    check_autocast,
    check_batch_composition,
    check_compile,
    check_gradients,
    check_odd_events,
    check_output,
    check_overfit,
    check_permutation,
    check_phi_is_an_angle,
    check_reset_and_repr,
    check_save_and_load,
)
from panoptag_pyg.testing.events import joined, random_block, random_events, reordered
from panoptag_pyg.testing.subjects import BackboneUnderTest, Subject, TaggerUnderTest

__all__ = [
    "BackboneUnderTest",
    "Subject",
    "TaggerUnderTest",
    "check_autocast",
    "check_backbone",
    "check_batch_composition",
    "check_compile",
    "check_gradients",
    "check_odd_events",
    "check_output",
    "check_overfit",
    "check_permutation",
    "check_phi_is_an_angle",
    "check_reset_and_repr",
    "check_save_and_load",
    "check_tagger",
    "joined",
    "random_block",
    "random_events",
    "reordered",
]


def check_backbone(
    build: Callable[[int], nn.Module], in_dim: int = 14, skip: Collection[str] = (), **settings: Any
) -> None:
    """Check all that the package asks of an event encoder; a second or two for a small one.

    Args:
        build: ``build(in_dim)`` makes it, with new random weights each time; small sizes are quicker.
        in_dim: how many features each PFO has. Default 14.
        skip: names of :data:`~panoptag_pyg.testing.checks.CHECKS` to leave out. Default: none.
        settings: attributes of :class:`~panoptag_pyg.testing.subjects.Subject`, such as ``fullgraph=False``.

    Raises:
        AssertionError: at the first property that it doesn't have, with a sentence.
    """
    _run(BackboneUnderTest(build, in_dim=in_dim, **settings), skip)


def check_tagger(build: Callable[[], nn.Module], skip: Collection[str] = (), **settings: Any) -> None:
    """Check all that the package asks of a tagger; a second or two for a small one.

    Args:
        build: makes it, with new random weights each time; small sizes are quicker.
        skip: names of :data:`~panoptag_pyg.testing.checks.CHECKS` to leave out. Default: none.
        settings: attributes of :class:`~panoptag_pyg.testing.subjects.Subject`, such as ``max_steps=800``.

    Raises:
        AssertionError: at the first property that it doesn't have, with a sentence.
    """
    _run(TaggerUnderTest(build, **settings), skip)


def _run(subject: Subject, skip: Collection[str]) -> None:
    for name in skip:
        if name not in CHECKS:
            raise ConfigError(f"there is no check '{name}'{suggest(name, CHECKS)}")
    for name, check in CHECKS.items():
        if name not in skip:
            check(subject)
