"""``python -m panoptag_pyg.prediction.worker ORDER.json``: score parts until none is left, in a process of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from panoptag_pyg.jobs import work
from panoptag_pyg.prediction.workers import DONE, STOP


def predict(order: dict[str, Any]) -> None:
    """Take a part that nobody has taken, score it, and so on."""
    import torch

    from panoptag_pyg.prediction.engine import Options
    from panoptag_pyg.prediction.extras import Extras
    from panoptag_pyg.prediction.parts import write_part
    from panoptag_pyg.prediction.source import SourceOptions, open_sources
    from panoptag_pyg.prediction.workers import make_engine
    from panoptag_pyg.prediction.workfolder import Part, WorkFolder

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    options = Options(**{**order["options"], "extras": Extras(**order["options"]["extras"])})
    calibration = None if order["calibration"] is None else Path(order["calibration"])
    engine = make_engine(Path(order["run"]), options, order["device"], calibration)
    stream = engine.stream(open_sources(order["data"], SourceOptions.from_dict(order["sources"])))
    folder = WorkFolder(Path(order["output"]), {})
    for part in (Part(*pair) for pair in order["parts"]):
        if (folder.path / STOP).exists():
            return
        if claim(folder.path_of(part).with_suffix(".claim")):
            write_part(folder.path_of(part), engine.score(stream, part.start, part.stop), _tell)


def claim(path: Path) -> bool:
    """Whether this process is the first to take it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        return True
    return False


def _tell(events: int) -> None:
    print(f"{DONE}{events}", flush=True)


if __name__ == "__main__":
    work({"predict": predict})
