"""Every backbone and tagger that there is: what it is, what it needs, and what it costs on the sample events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch_geometric.data import HeteroData

from panoptag_pyg.backbones import BackboneInfo, backbone_info, backbone_names, build_backbone
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events import PFO_FEATURES, EventDataset
from panoptag_pyg.models import build_tagger, tagger_info, tagger_names
from panoptag_pyg.models.cost import Cost, backbone_cost, num_parameters, tagger_cost

#: The PyG class that stands for all of them in the table.
PYG_EXAMPLE = "pyg:GATv2Conv"
#: How many sample events the cost is measured on, spread over all processes.
NUM_EVENTS = 8


class Entry(NamedTuple):
    """One network, at its default size, which is the published one.

    Attributes:
        name: what recipes call it.
        summary: one line.
        parameters: numbers that are trained; ``None`` if it can't be built here.
        flops_per_event: multiplications and additions of a forward pass; ``None`` if it can't be run here.
        needs: what it reads beyond the usual: fields of the batch, ``"momentum"`` of the PFOs.
        extra: the extra of this package that it needs, installed or not; empty for none.
        problem: why it can't be built or run here, such as the pip command of a missing extra; empty if it can.
        paper: where it was published; empty where it wasn't.
        package: the Python package that brings it.
    """

    name: str
    summary: str
    parameters: int | None
    flops_per_event: float | None
    needs: tuple[str, ...]
    extra: str
    problem: str
    paper: str
    package: str


def backbone_entries() -> Iterator[Entry]:
    """Every backbone by name, those of other packages too, one for all of PyG's at the end."""
    batch = sample_batch()
    for name in (*backbone_names(), PYG_EXAMPLE):
        info = backbone_info(name)
        if name == PYG_EXAMPLE:
            summary = "pyg:NAME: any convolution or model of PyTorch Geometric by its class name; here GATv2Conv"
            info = info._replace(summary=summary)
        build = functools.partial(build_backbone, name, len(PFO_FEATURES))
        yield _entry(info, build, lambda backbone, needs: backbone_cost(backbone, batch))


def tagger_entries() -> Iterator[Entry]:
    """Every tagger by name, those of other packages too."""
    for name in tagger_names():
        build = functools.partial(build_tagger, name)
        yield _entry(tagger_info(name), build, lambda model, needs: tagger_cost(model, sample_batch(needs)))


def sample_batch(fields: Any = ()) -> HeteroData:
    """Some of the sample events that come with the package, the same each time.

    Args:
        fields: as of :class:`~panoptag_pyg.events.EventDataset`. Default: the usual ones.
    """
    folder = resources.files("panoptag_pyg.data") / "sample"
    dataset = EventDataset(Path(str(folder)), fields=fields)
    return dataset.get_batch(np.linspace(0, len(dataset) - 1, NUM_EVENTS).astype(np.int64))


def _entry(info: BackboneInfo | Any, build: Callable[[], Any], measure: Callable[[Any, Any], Cost]) -> Entry:
    parameters, flops, problem, needs = None, None, "", frozenset(info.needs)
    try:
        with torch.random.fork_rng(devices=[]):
            network = build()
            needs = frozenset(getattr(network, "needs", needs))
            parameters = num_parameters(network)
            flops = measure(network, needs).flops_per_event
    except PanopTagError as error:
        problem = str(error)
    except Exception as error:  # of another package: it mustn't hide the others
        problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    build_of = getattr(info.build, "func", info.build)
    return Entry(
        info.name,
        info.summary,
        parameters,
        flops,
        tuple(sorted(needs)),
        getattr(info.build, "extra", ""),
        problem,
        info.paper,
        build_of.__module__.partition(".")[0],
    )
