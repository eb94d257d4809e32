"""What the geometric decoder brings on a small sample: the same recipe with the paper's decoder and with ours.

    python -m panoptag_pyg.benchmarks.models.decoders --train demo/data/train --test demo/data/test --runs demo/decoders

Trains ``small.toml`` once for each decoder (a finished run in ``--runs`` is not done again) and measures both on the
same unseen events. One training each: differences within the intervals say nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from panoptag_pyg.benchmarks.machine import describe_machine
from panoptag_pyg.evaluation import evaluate, predict_jets
from panoptag_pyg.output import write_json
from panoptag_pyg.training import Recipe, load_tagger, train
from panoptag_pyg.training.data import open_dataset


def main() -> None:
    """Train what isn't trained, measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", default=["demo/data/train"])
    parser.add_argument("--test", nargs="+", default=["demo/data/test"])
    parser.add_argument("--decoders", nargs="+", default=["cross_attention", "geometric"])
    parser.add_argument("--recipe", default="small.toml")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="further settings of the recipe")
    parser.add_argument("--runs", type=Path, default=Path("demo/decoders"), help="folder for the two runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/decoders.json"))
    options = parser.parse_args()
    results = {}
    for decoder in options.decoders:
        folder = options.runs / decoder
        if not (folder / "summary.json").exists():
            recipe = Recipe.from_toml(options.recipe, [f"model.decoder={decoder}", *options.overrides])
            train(recipe, options.train, folder, resume=(folder / "last.ckpt").exists())
        results[decoder] = measure(folder, options.test)
        row = results[decoder]
        values = {
            name: row[name].get("value", row[name].get("limit"))
            for name in ("accuracy", "auc", "b_rej50", "b_rej80", "c_rej50", "c_rej80")
        }
        print(f"{decoder:16s}" + "  ".join(f"{name} {_shown(value)}" for name, value in values.items()))
    write_json(options.output, {"benchmark": "decoders", "machine": describe_machine(), "results": results})


def measure(folder: Path, test: list[str]) -> dict[str, Any]:
    """Figures of merit of a run on all of ``test`` together, with intervals, and what was trained."""
    model, recipe = load_tagger(folder)
    dataset = open_dataset(test, recipe.data)
    with torch.inference_mode():
        result = evaluate(predict_jets(model, dataset)).of().to_dict()
    del result["curves"], result["confusion"]
    summary = json.loads((folder / "summary.json").read_text())
    for part in summary["data"].values():
        part.pop("files")  # paths of this machine
    return {**result, "recipe": json.loads(recipe.to_json()), "training": summary}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


if __name__ == "__main__":
    main()
