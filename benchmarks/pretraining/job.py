"""The pre-training in a process of its own: train or go on training, write the record; nothing is scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from panoptag_pyg.jobs import read_json, work
from panoptag_pyg.training import Recipe

from ..study.job import describe_data, train_run
from ..study.record import make_record, write_record


def pretrain(order: dict[str, Any]) -> None:
    """Do what of the run isn't done yet.

    Args:
        order: as of :func:`panoptag_pyg.benchmarks.study.job.train_and_score`.
    """
    # Its weights are what the others begin with: a record alone isn't enough.
    weights = Path(order["folder"]) / "run" / "best.ckpt"
    if read_json(Path(order["record"])).get("key") == order["asked"]["key"] and weights.is_file():
        return
    trained, summary = train_run(order)
    trained["seconds"]["test_cpu"] = 0.0
    recipe = Recipe.from_json(order["recipe"]).model_dump()
    data = describe_data({**order, "test": {}}, summary)
    write_record(Path(order["record"]), make_record(order["asked"], recipe, trained, data, {}, ()))
    print(f"{order['record']} is written", flush=True)


if __name__ == "__main__":
    work({"pretrain": pretrain})
