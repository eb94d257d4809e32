"""What is asked wrongly of networks is told in one sentence: names, options, sizes, shapes, extras."""

import pytest
from torch import nn

from panoptag_pyg.backbones import BackboneConfig, build_backbone, register_backbone
from panoptag_pyg.backbones import registry as backbone_registry
from panoptag_pyg.errors import ConfigError, MissingExtraError, require_extra
from panoptag_pyg.models import PanopTag, SingleJetTagger, build_tagger
from panoptag_pyg.testing import joined, random_events
from panoptag_pyg.training import Recipe


class Returns(nn.Module):
    """A backbone that returns what it is told to."""

    def __init__(self, result):
        super().__init__()
        self.result, self.out_dim = result, 8

    def forward(self, x, pos, ptr, max_length=None):
        return self.result(x)


def sentence(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (lambda x: x[:, :5], "[12, 5]"),
        (lambda x: x[:-1, :8], "[11, 8]"),
        (lambda x: x[None, :, :8], "[1, 12, 8]"),
        (lambda x: x.mean(0)[:8], "[8]"),
        (lambda x: (x[:, :8], None), "tuple"),
    ],
)
def test_a_backbones_wrong_shape_is_told_at_the_boundary(result, found):
    """With both shapes; by PanopTag and by the tagger of single jets."""
    batch = joined(random_events((9, 3), (2, 1), ("constituents",)))
    with pytest.raises(ConfigError, match="the backbone Returns returned") as error:
        PanopTag(dim=8, num_heads=2, backbone=Returns(result))(batch)
    assert f"returned {found}, expected [12, 8]" in sentence(error)
    count = batch["jet", "contains", "pfo"].edge_index.size(1)
    with pytest.raises(ConfigError, match="the backbone Returns returned") as error:
        SingleJetTagger(dim=8, backbone=Returns(result))(batch)
    assert f"expected [{count}, 8]" in sentence(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "panoptg"}, "no tagger 'panoptg'; did you mean 'panoptag'"),
        ({"name": "particlenett"}, "did you mean 'particlenet'"),
        ({"name": "gravnt"}, "did you mean 'gravnet'"),
        ({"name": "panoptag", "backbone": "gravnt"}, "no backbone 'gravnt'; did you mean 'gravnet'"),
        ({"name": "panoptag", "backbone": "pyg:GATv3Conv"}, "did you mean 'pyg:GAT"),
        ({"name": "panoptag", "backbone": "deepsets", "num_layer": 2}, "'num_layer'"),
        ({"name": "deepsets", "backbone": "isab"}, "'deepsets' is a backbone already"),
        ({"name": "panoptag", "dim": 10, "num_heads": 4}, "dim=10 and num_heads=4"),
        (
            {"name": "panoptag", "dim": 64, "num_heads": 4, "backbone_options": {"dim": 32}},
            "32 numbers per PFO, but dim is 64",
        ),
        (
            {"name": "single_jet", "dim": 64, "backbone_options": {"dim": 32}},
            "32 numbers per constituent, but dim is 64",
        ),
        ({"name": "single_jet", "pooling": "median"}, "no pooling 'median'"),
        ({"name": "panoptag", "backbone": "deepsets", "backbone_options": {"num_layers": 0}}, "'num_layers'"),
        ({"name": "panoptag", "dim": "64"}, "'dim' should be a whole number"),
    ],
)
def test_names_options_and_sizes(options, words):
    """The same sentence from Python and from a recipe."""
    with pytest.raises(ConfigError, match=words) as error:
        build_tagger(**options)
    sentence(error)
    with pytest.raises(ConfigError, match=words) as error:
        Recipe.from_dict({"model": options}, "recipe mine.toml")
    assert sentence(error).startswith("recipe mine.toml: [model]")


def test_a_missing_extra_is_the_pip_command(monkeypatch):
    monkeypatch.setattr(backbone_registry, "_BACKBONES", dict(backbone_registry._BACKBONES))

    @register_backbone("needy", BackboneConfig)
    class Needy(nn.Module):
        """Needs a package."""

        def __init__(self, in_dim, dim):
            super().__init__()
            require_extra("no_such_package", "lgatr")

    for build in (
        lambda: build_backbone("needy", 14),
        lambda: build_tagger("needy"),
        lambda: build_tagger("panoptag", backbone="needy"),
    ):
        with pytest.raises(MissingExtraError, match=r"'no_such_package'.*pip install 'panoptag-pyg\[lgatr\]'") as error:
            build()
        sentence(error)


def test_a_batch_without_what_the_tagger_reads():
    with pytest.raises(ConfigError, match=r"fields=\['constituents'\]"):
        SingleJetTagger(dim=8)(joined(random_events((9,), (2,))))


def test_sizes_that_fit_but_for_the_features():
    """A file with fewer PFO features than the network was built for."""
    batch = joined(random_events((9,), (2,)))
    batch["pfo"].x = batch["pfo"].x[:, :13]
    with pytest.raises(ValueError, match="got 13 features, but the network was built for 14: eta, phi") as error:
        PanopTag(dim=8, num_heads=2)(batch)
    sentence(error)
