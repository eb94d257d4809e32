"""How much pileup: texts, lists and files give the same distribution, and what is drawn follows it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation.pileup_profile import PileupProfile

MU, WEIGHT = [20.0, 35.5, 60.0], [1.0, 3.0, 4.0]


def write(path, name, mu=MU, weight=WEIGHT):
    path = path / name
    if name.endswith(".npz"):
        np.savez(path, mu=np.array(mu), weight=np.array(weight))
    elif name.endswith(".json"):
        path.write_text(json.dumps({"mu": mu, "weight": weight}))
    elif name.endswith(".toml"):
        path.write_text(f"mu = {mu}\nweight = {weight}\n")
    else:
        lines = [f"{m}, {w}" for m, w in zip(mu, weight, strict=True)]
        path.write_text("# of 2018\n" + ("mu, weight\n" if name == "named.csv" else "") + "\n".join(lines) + "\n\n")
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.json", "a.toml", "named.csv", "bare.csv"])
def test_histograms(name, tmp_path):
    profile = PileupProfile.parse(str(write(tmp_path, name)))
    assert profile.means == (20.0, 35.5, 60.0)
    np.testing.assert_allclose(profile.weights, [0.125, 0.375, 0.5])
    assert profile.max_mean == 60


def test_means_and_lists():
    assert PileupProfile.parse("60") == PileupProfile((60.0,), (1.0,))
    assert PileupProfile.parse("0").max_mean == 0
    assert PileupProfile.parse(" 40, 80 ") == PileupProfile((40.0, 80.0), (0.5, 0.5))
    # A value of weight 0 is never drawn, so that it doesn't count as the largest.
    assert PileupProfile.of([30, 900], [1, 0]) == PileupProfile((30.0,), (1.0,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-3", "mu number 1 is -3, expected 0 to 1000"),
        ("40,1e9", "mu number 2 is 1e\\+09"),
        ("nan", "mu number 1 is nan"),
        ("sixty", "such as 60, a list such as 40,60,80, or a file .*there is no such file"),
        ("40,", "there is no such file"),
        ("FOLDER/x.toml", "x.toml.*there is no such file"),
        ("", "there is no such file"),
    ],
)
def test_bad_texts(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        PileupProfile.parse(text.replace("FOLDER", str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", "mu = [1]\n", "there is no 'weight'"),
        ("a.toml", "mu = [1\n", "not a file with mu and weight"),
        ("a.toml", "mu = [1, 2]\nweight = [1]\n", "2 values of mu but 1 of weight"),
        ("a.toml", "mu = [[1]]\nweight = [[1]]\n", "isn't a list of numbers"),
        ("a.toml", "mu = ['a']\nweight = [1]\n", "isn't a list of numbers"),
        ("a.json", "[1, 2]", "there is no 'mu'"),
        ("a.json", '{"mu": [], "weight": []}', "with at least one entry"),
        ("a.json", '{"mu": 3, "weight": 1}', "isn't a list of numbers"),
        ("a.json", '{"mu": [3], "weight": [-1]}', "weight number 1 is -1, expected 0 or more"),
        ("a.json", '{"mu": [3], "weight": [0]}', "the weights sum to 0"),
        ("a.csv", "1,2,3\n", "line 1 has 3 columns"),
        ("a.csv", "x,y\n1,2\n", "its columns are x and y"),
        ("a.csv", "mu,weight\n1,two\n", "weight isn't a list of numbers"),
        ("a.csv", "", "with at least one entry"),
        ("a.npz", "no zip", "not a file with mu and weight"),
        ("a.npz", "", "not a file with mu and weight"),
        ("a.root", "", "expected a file of .toml, .json, .csv, .npz"),
    ],
)
def test_bad_files(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        PileupProfile.parse(str(tmp_path / name))
    assert name in str(caught.value)


def test_draws_follow_the_mixture(rng):
    profile = PileupProfile.of(MU, WEIGHT)
    counts = profile.draw(rng, 40_000)
    mu, weight = np.array(MU), np.array(WEIGHT) / np.sum(WEIGHT)
    mean = weight @ mu
    variance = mean + weight @ (mu - mean) ** 2  # of Poisson numbers around means that vary
    assert abs(counts.mean() - mean) < 6 * np.sqrt(variance / 40_000)
    spread = np.var((counts - mean) ** 2) ** 0.5 / np.sqrt(40_000)
    assert abs(counts.var() - variance) < 6 * spread


def test_of_one_mean_is_poisson(rng):
    counts = PileupProfile.parse("3").draw(rng, 40_000)
    assert abs(np.mean(counts == 0) - np.exp(-3)) < 6 * np.sqrt(np.exp(-3) / 40_000)
    assert not PileupProfile.parse("0").draw(rng, 50).any()
