"""The checks find what they are for: one network for each fault, and the sentence that names it."""

import numpy as np
import pytest
import torch
from torch import nn

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import jet_view, pfo_momentum
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.testing import CHECKS, check_backbone, check_tagger, joined, random_events


class Sound(nn.Module):
    """Each PFO, and the mean of its event."""

    def __init__(self, in_dim: int, dim: int = 16) -> None:
        super().__init__()
        self.out_dim = dim
        self.layers = nn.ModuleList([nn.Linear(2 * in_dim, 3 * dim), nn.Linear(3 * dim, dim)])

    def reset_parameters(self):
        for layer in self.layers:
            layer.reset_parameters()

    def forward(self, x, pos, ptr, max_length=None):
        mean = ops.segment_reduce(x, ptr, "mean")[ops.batch_from_ptr(ptr, x.size(0))]
        return self.layers[1](torch.relu(self.layers[0](torch.cat([x, mean], 1))))

    def __repr__(self):
        return f"{type(self).__name__}({self.out_dim})"


def test_a_sound_backbone_passes_and_takes_any_number_of_features(rng):
    check_backbone(Sound, in_dim=int(rng.integers(3, 20)))


class Narrow(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x, pos, ptr)[:, 1:]


class NoWidth(Sound):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        del self.out_dim


class Ordered(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x * torch.arange(len(x), dtype=x.dtype)[:, None], pos, ptr)


class Leaking(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x + x.sum(0), pos, ptr)


class Padded(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x + 1 / (1 + (max_length or 0)), pos, ptr)


class Flat(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(torch.cat([x[:, :-1], pos[:, 1:]], 1), pos, ptr)


class Divides(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward((x - x.mean(0)) / x.std(0), pos, ptr)


class Detached(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x, pos, ptr).detach() + self.layers[1].bias


class Unused(Sound):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.layers.append(nn.Linear(3, 3))


class Blind(Sound):
    """Learns nothing of what distinguishes PFOs."""

    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x * 1e-9, pos, ptr)


class Hidden(Sound):
    """Keeps a number that its state_dict doesn't hold."""

    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.scale = torch.rand(1)

    def forward(self, x, pos, ptr, max_length=None):
        return super().forward(x, pos, ptr) * self.scale.to(x)


class HalfReset(Sound):
    def reset_parameters(self):
        self.layers[0].reset_parameters()


class Wordy(Sound):
    def __repr__(self):
        return nn.Module.__repr__(self)


class Breaks(Sound):
    def forward(self, x, pos, ptr, max_length=None):
        y = super().forward(x, pos, ptr)
        return y if y.sum().item() > 0 else 1 * y


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        (Narrow, "output", "must return"),
        (NoWidth, "output", "out_dim"),
        (Ordered, "permutation", "come in another order"),
        (Leaking, "batch_composition", "in another batch"),
        (Padded, "batch_composition", "other numbers in"),
        (Flat, "phi_is_an_angle", "wrap differences"),
        (Divides, "odd_events", "NaN or infinite"),
        (Detached, "gradients", "no gradient reaches: layers.0.weight"),
        (Unused, "gradients", "no gradient reaches: layers.2.weight"),
        (Blind, "overfit", "by heart"),
        (Hidden, "save_and_load", "state_dict"),
        (HalfReset, "reset_and_repr", "leaves layers.1.weight as it was"),
        (Wordy, "reset_and_repr", "repr of"),
    ],
)
def test_a_fault_is_found_and_named(fault, check, words):
    others = set(CHECKS) - {check}
    with pytest.raises(AssertionError, match=words) as error:
        check_backbone(fault, skip=others)
    assert "seed=" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_faults_of_compiling():
    with pytest.raises(AssertionError, match="does not compile as one graph"):
        check_backbone(Breaks, skip=set(CHECKS) - {"compile"})
    check_backbone(Breaks, skip=set(CHECKS) - {"compile"}, fullgraph=False)
    torch._dynamo.reset()


class JetMean(Tagger):
    """Mean of a jet's constituents."""

    needs = frozenset({"constituents", "jet/num_b_hadrons"})

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.dim, self.num_classes = 14, num_classes
        self.register_buffer("scale", torch.ones(14))
        self.head = nn.Sequential(nn.Linear(14, 64), nn.GELU(), nn.Linear(64, num_classes))

    def reset_parameters(self):
        self.head[0].reset_parameters()
        self.head[2].reset_parameters()

    def fit_normalisation(self, batch):
        self.scale = 1 / (jet_view(batch).x.std(0) + 1e-3)

    def embed(self, batch, return_attention=False):
        assert batch["jet"].num_b_hadrons.dtype == torch.int64
        jets = jet_view(batch)
        return Embeddings(ops.segment_reduce(jets.x * self.scale, jets.ptr, "mean"))

    def __repr__(self):
        return "JetMean()"


class SwapsJets(JetMean):
    def embed(self, batch, return_attention=False):
        return Embeddings(super().embed(batch).jets.flip(0))


def test_a_sound_tagger_passes_and_a_faulty_one_is_named():
    check_tagger(JetMean)
    with pytest.raises(AssertionError, match="another batch"):
        check_tagger(SwapsJets, skip=set(CHECKS) - {"batch_composition"})


def test_an_unknown_check_is_named():
    with pytest.raises(ConfigError, match="did you mean 'gradients'"):
        check_backbone(Sound, skip=("gradient",))


def test_random_events_agree_with_themselves(rng):
    """Jets are the sums of their constituents, energies those of real particles; the same seed, the same events."""
    seed = int(rng.integers(2**31))
    sizes = (30, 0, 1, 4), (3, 2, 2, 0)
    fields = ("constituents", "jet/truth_pt")
    batch = joined(random_events(*sizes, fields, dtype=torch.float64, seed=seed))
    again = joined(random_events(*sizes, fields, dtype=torch.float64, seed=seed))
    assert torch.equal(batch["pfo"].x, again["pfo"].x)
    assert batch["pfo"].ptr.diff().tolist() == list(sizes[0])
    momentum = pfo_momentum(batch)
    mass2 = momentum[:, 0] ** 2 - momentum[:, 1:].square().sum(1)
    assert (mass2 >= -1e-9).all()
    assert mass2.clamp(min=0).sqrt().max() < 0.6
    jet, pfo = batch["jet", "contains", "pfo"].edge_index
    assert len(jet) == 24 + 1
    total = ops.segment_sum(momentum[pfo], jet, 7)
    filled = torch.bincount(jet, minlength=7) > 0
    assert filled.tolist() == [True] * 3 + [False] * 2 + [True, False]
    pt, eta, phi, mass = batch["jet"].x[filled].T
    torch.testing.assert_close(pt, total[filled, 1:3].norm(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(phi, torch.atan2(total[filled, 2], total[filled, 1]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pt * eta.sinh(), total[filled, 3], rtol=1e-3, atol=1e-3)
    assert (mass[:3] > 0).all()
    assert batch["jet"].truth_pt.shape == (7,)
