"""Against chance: pulls are normal for scores that know nothing, and a label among the inputs shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.learnable import write_learnable
from helpers.scores import made_up_scores
from sklearn.metrics import accuracy_score
from torch import nn

from panoptag_pyg.events import EventDataset
from panoptag_pyg.models import PanopTag, registry
from panoptag_pyg.training import Recipe, train
from panoptag_pyg.trust.shuffled import against_chance, shuffled_recipe, shuffled_section, write_shuffled
from panoptag_pyg.trust.subject import Samples, load_subject


def test_pulls_are_normal_where_nothing_is_known(rng):
    """Scores that jets of an event share: errors that count jets as independent would be too small."""
    pulls = {"AUC": [], "accuracy": []}
    for seed in range(120):
        found = against_chance(made_up_scores(rng, 200, spread=0, common=1.0), 100, seed)
        for name, chance in found.items():
            pulls[name].append(chance.pull)
    for name, values in pulls.items():
        assert abs(np.mean(values)) < 5 / np.sqrt(120), name
        assert 0.65 < np.std(values) < 1.4, name


def test_knowledge_is_found_and_chance_is_that_of_the_guesses(rng):
    jets = made_up_scores(rng, 300, spread=0.6)
    found = against_chance(jets)
    guess = jets.logits.argmax(axis=1)
    assert found["accuracy"].value == pytest.approx(accuracy_score(jets.flavour, guess))
    shares = [np.bincount(x, minlength=3) / len(jets) for x in (guess, jets.flavour)]
    assert found["accuracy"].chance == pytest.approx(shares[0] @ shares[1])
    assert min(chance.pull for chance in found.values()) > 5


def test_a_model_that_says_the_same_is_at_the_majority(rng):
    jets = made_up_scores(rng, 50, spread=0)
    jets.logits[:] = [1.0, 0.0, 0.0]
    found = against_chance(jets)
    assert found["accuracy"].value == pytest.approx(np.mean(jets.flavour == 0))
    assert found["accuracy"].chance == pytest.approx(np.mean(jets.flavour == 0))
    assert (found["accuracy"].pull, found["AUC"].pull) == (0, 0)


def test_nothing_but_flavours_is_shuffled(tmp_path, events):
    (tmp_path / "s").mkdir()
    chosen = events.select(np.arange(10, 100, 3))
    before = chosen.read_block()
    after = EventDataset(write_shuffled(chosen, tmp_path / "s", 1)).read_block()
    assert not np.array_equal(before.jet["flavour"], after.jet["flavour"])
    assert np.array_equal(np.sort(before.jet["flavour"]), np.sort(after.jet["flavour"]))
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(before, group).items():
            if (group, name) not in (("jet", "flavour"), ("event", "source")):
                assert np.array_equal(values, getattr(after, group)[name]), name
    assert np.array_equal(before.constituents, after.constituents)


def test_the_recipe_is_the_runs_own_but_shorter():
    recipe = Recipe.from_toml("tiny.toml", ["train.restart_epochs=4", "train.early_stopping=2", "train.lr=0.01"])
    short = shuffled_recipe(recipe, 1)
    assert (short.train.max_epochs, short.train.restart_epochs, short.train.early_stopping) == (1, 1, None)
    assert (short.train.lr, short.model, short.task) == (0.01, recipe.model, recipe.task)
    # Weights that have seen true labels would know of them.
    further = ["train.start_from=run", "train.freeze=['taken']", "train.lr_factor_taken=0.1", "data.max_events=5"]
    fresh = shuffled_recipe(Recipe.from_toml("tiny.toml", further), 1)
    assert (fresh.train.start_from, fresh.train.freeze, fresh.train.lr_factor_taken) == (None, [], 1)
    assert fresh.data.max_events is None


class Leaky(PanopTag):
    """A tagger that peeps at the label."""

    def forward(self, batch, return_attention=False):
        return super().forward(batch) + nn.functional.one_hot(batch["jet"].y.clamp(min=0), 3)


@pytest.mark.parametrize(("name", "verdict"), [("panoptag", "pass"), ("leaky", "fail")])
def test_a_leak_of_the_label_fails(tmp_path, monkeypatch, name, verdict):
    monkeypatch.setattr(registry, "_TAGGERS", dict(registry._TAGGERS))
    registry.register_tagger("leaky")(Leaky)
    path = write_learnable(tmp_path / "events.h5", 300)
    torch.manual_seed(0)
    changes = ["train.max_epochs=1", f"model.name={name}", "model.dim=8", "data.batch_size=32"]
    run = train(Recipe.from_toml("tiny.toml", changes), path, tmp_path / "run")
    subject = load_subject(run.folder)
    samples = Samples(EventDataset(path), EventDataset(path), "test", "train")
    section = shuffled_section(subject, samples, 250, 2, 0, 100)
    assert {check.verdict for check in section.checks} == {verdict}, section.checks
    assert section.numbers["events"] == 250
    assert section.numbers["jets"] < 5 * 125
