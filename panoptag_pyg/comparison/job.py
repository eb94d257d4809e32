"""``python -m panoptag_pyg.comparison.job ORDER.json``: one piece of work of a comparison, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

#: Seconds between being told to stop and stopping at once.
PATIENCE = 45.0


def main(order: dict[str, Any]) -> int:
    """Do it; the exit code: 0 done, 1 or 2 failed, 130 interrupted."""
    from panoptag_pyg.errors import PanopTagError

    kinds = {"train": train_and_score, "cost": measure_cost, "speed": measure_speed}
    try:
        kinds[order["kind"]](order)
    except PanopTagError as error:
        print("Error: " + " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        print("Error: there is not enough memory for it", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def train_and_score(order: dict[str, Any]) -> None:
    """Train the recipe, unless a finished run is to be loaded; then score the test events."""
    from panoptag_pyg.comparison.events import measured_dataset
    from panoptag_pyg.comparison.flavour import flavour_of
    from panoptag_pyg.evaluation import predict_jets
    from panoptag_pyg.training import Recipe, load_tagger, train

    start = time.monotonic()
    if order["recipe"] is not None:
        run = Path(order["model"])
        resume = order["resume"] and (run / "recipe.toml").is_file()
        train(Recipe.from_json(order["recipe"]), order["data"], run, resume=resume, overwrite=not resume)
    print("scoring the test events", flush=True)
    model, recipe = load_tagger(order["model"])
    model, _ = flavour_of(model, recipe)
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


def hold(folder: Path) -> None:
    """Wait until no other process works on the same part: one whose parent was killed may still be leaving."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    file = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)  # never closed: held until this process ends
    fcntl.flock(file, fcntl.LOCK_EX)


def stop_with_parent() -> None:
    """Be interrupted when standard input closes: whoever started this process is gone, however that came about."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock, held by this thread, would abort the interpreter's exit
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have left it ignored
    stop_with_parent()
    hold(Path(sys.argv[1]).parent)
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
