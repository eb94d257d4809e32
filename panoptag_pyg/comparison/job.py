"""``python -m panoptag_pyg.comparison.job ORDER.json``: one piece of work of a comparison, in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from panoptag_pyg.jobs import work


def train_and_score(order: dict[str, Any]) -> None:
    """Train the recipe, unless a finished run is to be loaded; then score the test events."""
    from panoptag_pyg.comparison.events import measured_dataset
    from panoptag_pyg.evaluation import predict_jets
    from panoptag_pyg.training import Recipe, load_tagger, train

    start = time.monotonic()
    if order["recipe"] is not None:
        run = Path(order["model"])
        resume = order["resume"] and (run / "recipe.toml").is_file()
        train(Recipe.from_json(order["recipe"]), order["data"], run, resume=resume, overwrite=not resume)
    print("scoring the test events", flush=True)
    model, recipe = load_tagger(order["model"])
    dataset = measured_dataset(order["test"], recipe, model)
    predictions = predict_jets(model, dataset, device=order["device"], recipe=recipe.to_json())
    predictions.save(order["scores"], overwrite=True)
    print(f"done in {time.monotonic() - start:.0f} s", flush=True)


def measure_cost(order: dict[str, Any]) -> None:
    """Parameters, FLOPs and the peak memory of a training step."""
    from panoptag_pyg.comparison.cost import cost_of
    from panoptag_pyg.output import write_json

    write_json(order["result"], {"key": order["key"], **cost_of(order)})


def measure_speed(order: dict[str, Any]) -> None:
    """Events per second of all taggers side by side."""
    from panoptag_pyg.comparison.speed import speed_of
    from panoptag_pyg.output import write_json

    write_json(order["result"], {"key": order["key"], **speed_of(order)})


#: What an order's ``kind`` stands for.
KINDS = {"train": train_and_score, "cost": measure_cost, "speed": measure_speed}

if __name__ == "__main__":
    work(KINDS)
