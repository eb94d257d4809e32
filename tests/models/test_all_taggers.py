"""Every registered tagger, and PanopTag on every registered backbone, passes ``panoptag_pyg.testing``."""

import functools

import pytest
from helpers.tiny import (
    SETTINGS_OF_BACKBONES,
    SETTINGS_OF_TAGGERS,
    TINY_BACKBONES,
    TINY_TAGGERS,
    UNCHECKED,
    checks_of,
    tiny,
)

from panoptag_pyg.backbones import backbone_names, build_backbone
from panoptag_pyg.errors import MissingExtraError
from panoptag_pyg.models import PanopTag, build_tagger, tagger_info, tagger_names
from panoptag_pyg.testing import CHECKS, TaggerUnderTest

#: What PanopTag's decoder could break in a backbone that passes its own checks.
WITH_DECODER = ("output", "permutation", "batch_composition", "gradients", "save_and_load")


def run(check, build, seed, settings):
    try:
        build()
    except MissingExtraError as error:
        pytest.skip(str(error))
    CHECKS[check](TaggerUnderTest(build, **{"seed": seed, **settings}))


@pytest.mark.parametrize("name", tagger_names())
def test_it_can_be_listed(name):
    summary = tagger_info(name).summary
    assert summary, f"the tagger '{name}' needs a docstring: its first line is its line in the table"
    assert tiny(TINY_TAGGERS, name) is not None


@pytest.mark.parametrize(("name", "check"), checks_of(tagger_names()))
def test_tagger(rng, name, check):
    if (name, check) in UNCHECKED:
        pytest.skip(UNCHECKED[name, check])
    build = functools.partial(build_tagger, name, **tiny(TINY_TAGGERS, name))
    run(check, build, int(rng.integers(2**31)), SETTINGS_OF_TAGGERS.get(name, {}))


@pytest.mark.parametrize("check", WITH_DECODER)
@pytest.mark.parametrize("name", backbone_names())
def test_panoptag_with_another_backbone(rng, name, check):
    if (name, check) in UNCHECKED:
        pytest.skip(UNCHECKED[name, check])

    def build():
        backbone = build_backbone(name, 14, **tiny(TINY_BACKBONES, name))
        return PanopTag(dim=backbone.out_dim, num_heads=1, num_decoder_layers=1, backbone=backbone)

    run(check, build, int(rng.integers(2**31)), SETTINGS_OF_BACKBONES.get(name, {}))
