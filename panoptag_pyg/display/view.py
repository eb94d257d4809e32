"""What a display shows of an event: its PFOs, its jets with their tags, and what each jet attends to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from panoptag_pyg.errors import NoAttentionError, PanopTagError
from panoptag_pyg.evaluation.style import process_label
from panoptag_pyg.events import EventBlock, EventDataset
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.progress import progress
from panoptag_pyg.tasks import Task
from panoptag_pyg.tasks.classification import Classification
from panoptag_pyg.tasks.flavour import FlavourTagging

#: Radius of the jets' circles where the file doesn't tell that of their clustering.
JET_RADIUS = 0.4


class DisplayError(PanopTagError, IndexError):
    """An event that isn't there, or a model whose scores are no numbers."""


@dataclass(frozen=True)
class EventView:
    """What a display shows of one event with P PFOs and J jets.

    Attributes:
        pfo_pt, pfo_eta, pfo_phi: of the PFOs (GeV, rad; φ wrapped), each ``[P]``.
        particle_class: :class:`panoptag_pyg.events.schema.ParticleClass` of the PFOs ``[P]``.
        jet_pt, jet_eta, jet_phi: of the jets (GeV, rad; φ wrapped), each ``[J]``.
        flavour: true class of the jets ``[J]``, an index into ``class_names``; -1 where unknown.
        probabilities: scores ``[J, C]``; ``[J, 0]`` without a model that tags jets.
        attention: weight of each PFO for each jet, mean over heads ``[J, P]``; ``None`` if there is none.
        title: what event this is.
        jet_radius: R of the jets' clustering.
        class_names: names of the C classes that jets are told apart by.
        number: of the event within the dataset.
        process: its process, as the file names it.
        block: the event's columns as they are in the file; ``None`` for an event that was made up.
        known: paths of the columns that the file holds; others stand at their default in ``block``.
        attributes: of the file that the event is from.
    """

    pfo_pt: np.ndarray = field(repr=False)
    pfo_eta: np.ndarray = field(repr=False)
    pfo_phi: np.ndarray = field(repr=False)
    particle_class: np.ndarray = field(repr=False)
    jet_pt: np.ndarray = field(repr=False)
    jet_eta: np.ndarray = field(repr=False)
    jet_phi: np.ndarray = field(repr=False)
    flavour: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    attention: np.ndarray | None = field(repr=False)
    title: str
    jet_radius: float = JET_RADIUS
    class_names: tuple[str, ...] = FLAVOUR_NAMES
    number: int = 0
    process: str = ""
    block: EventBlock | None = field(default=None, repr=False)
    known: frozenset[str] = field(default=frozenset(), repr=False)
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)


def view_event(
    model: nn.Module | None,
    dataset: EventDataset,
    event: int,
    device: str | torch.device | None = None,
    task: Task | None = None,
) -> EventView:
    """Tag one event and keep the last layer's attention weights.

    Args:
        model: a tagger; asked for its attention if it has any. ``None``: the event alone, without scores.
        dataset: the events.
        event: number of the event within the dataset, from 0.
        device: where to compute. Default: where the model's parameters are.
        task: what the model was trained for. Default: flavour tagging.

    Raises:
        DisplayError: if there is no such event (the sentence names the valid range), or a score is not finite.
    """
    if not 0 <= event < len(dataset):
        raise no_such_event(f"--event {event}", dataset)
    block = dataset.read_block([event])
    names, part = _jet_classes(task)
    flavour = block.jet["flavour"]
    probabilities, attention = np.empty((block.num_jets, 0)), None
    if model is not None:
        if device is None:
            device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        batch = dataset.get_batch([event]).to(device)
        if task is not None and part is not None:
            flavour = task.parts()[part].targets(batch).cpu().numpy()  # type: ignore[operator]
        if names and getattr(model, "level", "jet") == "jet":
            probabilities = np.empty((block.num_jets, len(names)))
        if block.num_jets:
            output, weights = _with_attention(model.to(device).eval(), batch)
            attention = None if weights is None else _dense(weights, block)
            if probabilities.shape[1]:
                logits = output if task is None or part is None else task.part_output(output, part)
                probabilities = _softmax(logits, event)
    file = dataset.files[int(dataset.file_of_events()[event])]
    process = dataset.processes[int(block.event["process"][0])]
    jets = "jet" if block.num_jets == 1 else "jets"
    return EventView(
        pfo_pt=block.pfo["pt"].astype(np.float64),
        pfo_eta=block.pfo["eta"].astype(np.float64),
        pfo_phi=wrap_phi(block.pfo["phi"]),
        particle_class=block.pfo["particle_class"],
        jet_pt=block.jet["pt"].astype(np.float64),
        jet_eta=block.jet["eta"].astype(np.float64),
        jet_phi=wrap_phi(block.jet["phi"]),
        flavour=flavour,
        probabilities=probabilities,
        attention=attention,
        title=f"{process_label(process)}  event {event} (id {int(block.event['id'][0])})   ·   "
        f"{block.num_pfos} PFOs, {block.num_jets} {jets}",
        jet_radius=file.jet_radius or JET_RADIUS,
        class_names=names or FLAVOUR_NAMES,
        number=event,
        process=process,
        block=block,
        known=frozenset(path for group, columns in (("pfo", block.pfo), ("jet", block.jet))
                        for path in (f"{group}/{name}" for name in columns) if file.has(path)),
        attributes=dict(getattr(file, "attributes", {})),
    )  # fmt: skip


def view_events(
    model: nn.Module | None,
    dataset: EventDataset,
    events: Sequence[int],
    device: str | torch.device | None = None,
    task: Task | None = None,
) -> list[EventView]:
    """:func:`view_event` of several events, with a progress bar.

    Args:
        events: their numbers within the dataset.

    Other arguments and errors as there.
    """
    views = []
    with progress("reading" if model is None else "tagging", len(events)) as advance:
        for event in events:
            views.append(view_event(model, dataset, event, device, task))
            advance(1)
    return views


def no_such_event(asked: str, dataset: EventDataset) -> DisplayError:
    """The error for an event that the files don't hold; the sentence names those that they do."""
    valid = f"it has events 0 to {len(dataset) - 1}" if len(dataset) else "it has no events"
    files = str(dataset.files[0].path) if len(dataset.files) == 1 else f"{len(dataset.files)} files"
    return DisplayError(f"{asked} is not in {files}: {valid}")


def _jet_classes(task: Task | None) -> tuple[tuple[str, ...], str | None]:
    """Names of the classes of jets that a task asks about, and which of its parts does; flavours without a task."""
    if task is None:
        return FLAVOUR_NAMES, None
    found = [(name, part) for name, part in task.parts().items()
             if isinstance(part, Classification) and part.level == "jet"]  # fmt: skip
    found.sort(key=lambda entry: not isinstance(entry[1], FlavourTagging))
    return (tuple(found[0][1].class_names), found[0][0]) if found else ((), None)


def _with_attention(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Output and attention for ``batch``; ``None`` in the attention's place for a model that has none."""
    with torch.inference_mode():
        if "return_attention" in inspect.signature(model.forward).parameters:
            try:
                answer = model(batch, return_attention=True)
            except NoAttentionError:
                return model(batch), None
            return answer if isinstance(answer, tuple) else (answer, None)
        return model(batch), None


def _dense(weights: Any, block: EventBlock) -> np.ndarray:
    """Attention as a table [J, P], mean over the heads, from the weights of its edges."""
    edge, weight = weights.edge_index.cpu().numpy(), weights.weight.float().cpu().numpy()
    table = np.zeros((block.num_jets, block.num_pfos))
    if len(weight):
        table[edge[0], edge[1]] = weight.reshape(len(weight), -1).mean(axis=1)
    return table


def _softmax(logits: torch.Tensor, event: int) -> np.ndarray:
    if not bool(torch.isfinite(logits).all()):
        raise DisplayError(
            f"event {event} gets a score that is not finite: the training has probably diverged; see metrics.csv "
            "and lower the learning rate"
        )
    return torch.softmax(logits.double(), dim=1).cpu().numpy()
