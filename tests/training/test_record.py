"""The run folder's README, curves and data wait; what overwriting and a stillborn run leave."""

from __future__ import annotations

import json

import pytest
import torch
from matplotlib.image import imread

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.output import OutputError
from panoptag_pyg.training import record as record_module
from panoptag_pyg.training import train
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.curves import MOST, curves_figure, write_curves
from panoptag_pyg.training.run_folder import drop_stillborn, is_our_readme, prepare_output


def rows(number=3, **more):
    return [
        {"epoch": n + 1, "step": 10 * n, "train_loss": 1 / (n + 1), "val_loss": 1.1 / (n + 1), "train_accuracy": 0.5,
         "val_accuracy": 0.6, "lr": 1e-3, "seconds": 1.0, "data_wait": 0.01, **more}
        for n in range(number)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(event_file, tmp_path_factory):
    from panoptag_pyg.training import Recipe

    folder = tmp_path_factory.mktemp("record") / "my run"
    return train(Recipe.from_toml("tiny", ["train.max_epochs=2"]), event_file, folder)


def test_the_readme_names_every_file_and_the_folder(run):
    text = (run.folder / "README.md").read_text()
    for path in run.folder.iterdir():
        assert path.name == "README.md" or f"`{path.name}" in text, path.name
    assert f"panoptag evaluate '{run.folder}' --data" in text
    assert "# panoptag, task flavour" in text


def test_the_summary_says_how_the_run_was_made(run, event_file):
    summary = json.loads((run.folder / "summary.json").read_text())
    assert {"command", "working_folder", "host", "versions", "git", "backends"} <= set(summary)
    (entry,) = json.loads((run.folder / "checksums.json").read_text())["files"]
    assert entry["path"] == str(event_file)
    assert entry["used_for"] == ["training", "validation"]
    assert len(entry["sha256"]) == 64


def test_the_share_of_waiting_is_kept_and_shown(run, event_file, tmp_path, recipe, capfd):
    assert all(0 < row["data_wait"] < 1 for row in read_metrics(run.folder / "metrics.csv"))
    train(recipe("train.max_epochs=1"), event_file, tmp_path / "run")
    line = capfd.readouterr().err.splitlines()[0]
    assert line.endswith("% waiting for data *")


def test_metrics_of_an_earlier_version_can_be_gone_on_with(event_file, tmp_path, recipe):
    folder = tmp_path / "run"
    train(recipe("train.max_epochs=1"), event_file, folder)
    lines = [line.rpartition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    assert lines[0].endswith(",seconds")  # the last column, data_wait, is gone
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    for epochs in (2, 3):
        train(recipe(f"train.max_epochs={epochs}"), event_file, folder, resume=True)
    waits = [row["data_wait"] for row in read_metrics(folder / "metrics.csv")]
    assert waits[0] != waits[0]
    assert all(wait > 0 for wait in waits[1:])


def test_curves_are_a_figure_with_a_panel_for_each_metric(run, tmp_path):
    image = imread(run.folder / "curves.png")
    assert image.std() > 0.01
    figure = curves_figure(rows(), "panoptag, flavour")
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_ylabel() for axis in panels] == ["loss", "accuracy", "learning rate"]
    loss, accuracy, _ = panels
    assert [line.get_label() for line in loss.get_lines()][:2] == ["training", "validation"]
    assert list(loss.get_lines()[1].get_ydata()) == [row["val_loss"] for row in rows()]
    assert loss.get_lines()[-1].get_xdata()[0] == 3  # the best epoch
    assert len(accuracy.get_lines()) == 3
    many = curves_figure(rows(2, **{f"val_task{n}_loss": 0.1 for n in range(30)}))
    assert len([axis for axis in many.axes if axis.get_visible()]) == MOST
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_curves(tmp_path / "file" / "curves.png", rows())


@pytest.mark.parametrize("odd", [[], rows(1), rows(2, val_loss=float("nan"))])
def test_curves_of_odd_runs(odd, tmp_path):
    write_curves(tmp_path / "curves.png", odd)
    assert imread(tmp_path / "curves.png").size


def test_curves_that_cannot_be_drawn_do_not_stop_a_run(event_file, tmp_path, recipe, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(record_module, "write_curves", broken)
    monkeypatch.setattr(record_module, "CURVES_SECONDS", 0.0)
    with pytest.warns(UserWarning, match=r"curves\.png couldn't be drawn \(no fonts\); the run goes on"):
        run = train(recipe("train.max_epochs=2"), event_file, tmp_path / "run")
    assert run.summary["status"] == "finished"
    assert not (run.folder / "curves.png").exists()


def test_curves_are_drawn_each_epoch_unless_that_was_a_moment_ago(event_file, tmp_path, recipe, monkeypatch):
    drawn = []
    monkeypatch.setattr(record_module, "write_curves", lambda path, rows, title: drawn.append(len(rows)))
    train(recipe("train.max_epochs=3"), event_file, tmp_path / "a")
    assert drawn[-1] == 3
    drawn.clear()
    monkeypatch.setattr(record_module, "CURVES_SECONDS", 0.0)
    monkeypatch.setattr(record_module, "CURVES_PATIENCE", 0.0)
    train(recipe("train.max_epochs=3"), event_file, tmp_path / "b")
    assert drawn == [1, 2, 3, 3]


def test_overwriting_replaces_our_readme_and_no_other(run, tmp_path, event_file, recipe):
    folder = tmp_path / "run"
    train(recipe("train.max_epochs=1"), event_file, folder)
    assert is_our_readme(folder / "README.md")
    prepare_output(folder, overwrite=True)
    assert list(folder.iterdir()) == []
    (folder / "README.md").write_text("# My thesis\n")
    (folder / "recipe.toml").write_text("")
    train(recipe("train.max_epochs=1"), event_file, folder, overwrite=True)
    assert (folder / "README.md").read_text() == "# My thesis\n"
    (folder / "README.md").write_bytes(b"\xff\xfe")
    assert not is_our_readme(folder / "README.md")


def test_a_run_that_fails_before_its_first_checkpoint_leaves_nothing(event_file, tmp_path, recipe):
    with pytest.raises(PanopTagError, match="became nan"):
        train(recipe("train.max_epochs=1", "train.lr=1e38"), event_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    drop_stillborn(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_reads_ahead_and_its_random_numbers_do_not_change(event_file, tmp_path, recipe, monkeypatch):
    """With dropout, whose masks come from torch's generator: the same weights as without a thread."""
    from panoptag_pyg.training.data import EventLoader

    ours = recipe("train.max_epochs=2", "model.dropout=0.1") if "dropout" in recipe().model.options else recipe()
    train(ours, event_file, tmp_path / "ahead")
    plain = EventLoader.__init__

    def without(self, *arguments, **options):
        plain(self, *arguments, **{**options, "read_ahead": False})

    monkeypatch.setattr(EventLoader, "__init__", without)
    train(ours, event_file, tmp_path / "plain")
    found = [torch.load(tmp_path / n / "best.ckpt", weights_only=True)["state_dict"] for n in ("ahead", "plain")]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
