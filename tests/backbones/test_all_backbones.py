"""Every registered backbone passes every check of ``panoptag_pyg.testing``."""

import functools

import pytest
from helpers.tiny import SETTINGS_OF_BACKBONES, TINY_BACKBONES, UNCHECKED, checks_of, tiny

from panoptag_pyg.backbones import backbone_info, backbone_names, build_backbone
from panoptag_pyg.errors import MissingExtraError
from panoptag_pyg.testing import CHECKS, BackboneUnderTest


@pytest.mark.parametrize("name", backbone_names())
def test_it_can_be_listed(name):
    info = backbone_info(name)
    assert info.summary, f"the backbone '{name}' needs a docstring: its first line is its line in the table"
    assert info.build.__doc__.startswith(info.summary)
    assert info.config(**tiny(TINY_BACKBONES, name)).dim > 0
    assert info.config().model_dump(), f"every option of '{name}' needs a default, at the published size"


@pytest.mark.parametrize(("name", "check"), checks_of(backbone_names()))
def test_backbone(rng, name, check):
    if (name, check) in UNCHECKED:
        pytest.skip(UNCHECKED[name, check])
    build = functools.partial(build_backbone, name, **tiny(TINY_BACKBONES, name))
    try:
        build(14)
    except MissingExtraError as error:
        pytest.skip(str(error))
    seed = int(rng.integers(2**31))
    CHECKS[check](BackboneUnderTest(build, **{"seed": seed, **SETTINGS_OF_BACKBONES.get(name, {})}))
