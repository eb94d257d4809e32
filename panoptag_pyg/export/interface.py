"""What an exported tagger takes and gives: names, shapes, units; the description that every exported file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg import __version__
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events.features import FEATURE_UNITS, JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.jets import CONTAINS
from panoptag_pyg.models.base import event_ptr
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.recipe import Recipe

FORMAT_NAME = "panoptag-export"
#: Raised when an older release would misread what is written now.
FORMAT_VERSION = 1
OUTPUT_NAME = "logits"
#: Names of the sizes that vary.
NUM_PFOS, NUM_JETS, NUM_CONSTITUENTS, NUM_PTR, NUM_EVENTS = (
    "num_pfos",
    "num_jets",
    "num_constituents",
    "num_events_plus_1",
    "num_events",
)


class ExportError(PanopTagError, ValueError):
    """A tagger that can't be exported, or an exported file that is missing, damaged, or of another kind."""


class Port(NamedTuple):
    """An input or output.

    Attributes:
        name: what it is called.
        dtype: ``"float32"`` or ``"int64"``.
        shape: numbers, and names of sizes that vary.
        meaning: one line, with units.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


class Interface(NamedTuple):
    """Inputs and the output of an exported tagger.

    Attributes:
        inputs: in their order.
        output: the logits.
        description: everything else that a reader has to know, as plain values; see :func:`describe`.
    """

    inputs: tuple[Port, ...]
    output: Port
    description: dict[str, Any]

    @property
    def one_event(self) -> bool:
        """Whether a call takes a single event, without ``ptr``."""
        return "pfo_ptr" not in [port.name for port in self.inputs]

    @property
    def needs_constituents(self) -> bool:
        """Whether a call takes the jets' constituents."""
        return "constituent_pfo" in [port.name for port in self.inputs]

    def to_metadata(self) -> dict[str, str]:
        """As the strings that ONNX and torch.export files keep."""
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.to_dict().items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        ports = {"inputs": [port._asdict() for port in self.inputs], "output": self.output._asdict()}
        return {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, **self.description, **ports}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: Any) -> Interface:
        """Read what :meth:`to_metadata` wrote.

        Args:
            metadata: the strings.
            file: what an error calls their origin.

        Raises:
            ExportError: if they aren't ours, or of a later release.
        """
        if metadata.get("format") != FORMAT_NAME:
            raise ExportError(f"{file}: wasn't written by panoptag export; make it with panoptag export RUN")
        values: dict[str, Any] = {}
        try:
            if int(metadata["format_version"]) > FORMAT_VERSION:
                raise ExportError(
                    f"{file}: was written by panoptag-pyg {metadata.get('panoptag_pyg_version')}, this is "
                    f"{__version__}; install a newer one"
                )
            for name, text in metadata.items():
                if name in _VALUES:
                    values[name] = json.loads(text)
                elif name in _TEXTS:
                    values[name] = text
            inputs, output = values.pop("inputs"), values.pop("output")
            ports = [Port(p["name"], p["dtype"], tuple(p["shape"]), p["meaning"]) for p in (*inputs, output)]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ExportError):
                raise
            raise ExportError(f"{file}: its description is damaged; export it again") from error
        return cls(tuple(ports[:-1]), ports[-1], values)


#: Entries that are text, and those that are JSON; tools of others add some of their own.
_TEXTS = ("panoptag_pyg_version", "tagger", "task", "level", "precision")
_VALUES = ("classes", "pfo_features", "jet_features", "max_pfos", "max_jets", "recipe", "inputs", "output")


def describe(
    model: nn.Module, recipe: Recipe, task: Task | None = None, one_event: bool = False, precision: str = "float32"
) -> Interface:
    """The interface of a trained tagger.

    Args:
        model: the tagger.
        recipe: what made it.
        task: its task, which names the classes. Default: the recipe's.
        one_event: whether a call takes a single event, without ``ptr``. Default ``False``.
        precision: of the weights and products. Default ``"float32"``.

    Raises:
        ExportError: for a tagger of several tasks, or one that answers for each PFO.
    """
    from panoptag_pyg.tasks import Head, build_task

    task = build_task(recipe.task.name, **recipe.task.options) if task is None else task
    head = task.head
    if not isinstance(head, Head) or head.kind not in ("jet", "event"):
        what = f"several tasks ({', '.join(task.parts())})" if not isinstance(head, Head) else f"'{recipe.task.name}'"
        raise ExportError(
            f"a tagger of {what} can't be exported: only those that answer one question about each jet or event can; "
            "panoptag predict writes its answers, and --to safetensors its weights"
        )
    jet_names = tuple(recipe.data.jet_features or JET_FEATURES)
    constituents = "constituents" in getattr(model, "needs", ())
    ports = [Port("pfo_x", "float32", (NUM_PFOS, len(PFO_FEATURES)), f"features of PFOs: {_listed(PFO_FEATURES)}")]
    if not one_event:
        ports.append(Port("pfo_ptr", "int64", (NUM_PTR,), "first PFO of each event, and the number of PFOs at the end"))
    ports.append(Port("jet_x", "float32", (NUM_JETS, len(jet_names)), f"features of jets: {_listed(jet_names)}"))
    if not one_event:
        ports.append(Port("jet_ptr", "int64", (NUM_PTR,), "first jet of each event, and the number of jets at the end"))
    if constituents:
        ports.append(
            Port("constituent_jet", "int64", (NUM_CONSTITUENTS,), "row in jet_x of each constituent's jet, ascending")
        )
        ports.append(Port("constituent_pfo", "int64", (NUM_CONSTITUENTS,), "row in pfo_x of each constituent"))
    level = getattr(model, "level", head.kind)
    rows = NUM_JETS if level == "jet" else (1 if one_event else NUM_EVENTS)
    classes = tuple(task.class_names)
    meaning = f"logits of each {level}: {', '.join(classes)}; softmax makes them probabilities"
    if not classes:
        meaning = f"the answer for each {level}, as the task '{recipe.task.name}' defines it"
    output = Port(OUTPUT_NAME, "float32", (rows, head.num_outputs), meaning)
    description = {
        "panoptag_pyg_version": __version__,
        "tagger": recipe.model.name,
        "task": recipe.task.name,
        "level": level,
        "precision": precision,
        "classes": list(classes),
        "pfo_features": [{"name": name, "unit": FEATURE_UNITS.get(name, "")} for name in PFO_FEATURES],
        "jet_features": [{"name": name, "unit": FEATURE_UNITS.get(name, "")} for name in jet_names],
        "max_pfos": recipe.data.max_pfos,
        "max_jets": recipe.data.max_jets,
        "recipe": recipe.model_dump(mode="json"),
    }
    return Interface(tuple(ports), output, description)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({FEATURE_UNITS[name]})" if name in FEATURE_UNITS else name for name in names)


def example_inputs(interface: Interface) -> tuple[Tensor, ...]:
    """Inputs to trace a tagger with: two events of unequal sizes, or one, features of ordinary size.

    Args:
        interface: of the tagger.
    """
    num_pfos, num_jets = (11, 5)
    values = {
        "pfo_x": torch.linspace(-1, 1, num_pfos * len(PFO_FEATURES)).view(num_pfos, -1),
        "pfo_ptr": torch.tensor([0, 4, num_pfos]),
        "jet_ptr": torch.tensor([0, 2, num_jets]),
        "constituent_jet": torch.tensor([0, 0, 1, 2, 2, 2, 4]),
        "constituent_pfo": torch.tensor([0, 1, 3, 4, 5, 9, 10]),
    }
    shapes = {port.name: port.shape for port in interface.inputs}
    width = shapes["jet_x"][1]
    assert isinstance(width, int)
    values["jet_x"] = torch.linspace(0.5, 2, num_jets * width).view(num_jets, width)
    return tuple(values[name] for name in shapes)


def inputs_of(batch: HeteroData, interface: Interface) -> list[dict[str, Tensor]]:
    """What to call an exported tagger with, by name: once for a batch, or once for each event of it.

    Args:
        batch: as :class:`~panoptag_pyg.events.EventLoader` gives it, or a single event.
        interface: of the tagger.

    Raises:
        ExportError: if its events have other features.
    """
    pfo, jet = batch["pfo"], batch["jet"]
    for name, x in (("pfo_x", pfo.x), ("jet_x", jet.x)):
        wanted = next(port.shape[1] for port in interface.inputs if port.name == name)
        if x.size(1) != wanted:
            names = [feature["name"] for feature in interface.description[name.replace("_x", "_features")]]
            raise ExportError(
                f"these events have {x.size(1)} features of each {name[:3]}, the exported tagger takes {wanted}: "
                f"{', '.join(names)}; open them with its recipe's jet_features"
            )
    ptrs = event_ptr(pfo), event_ptr(jet)
    values = {"pfo_x": pfo.x, "pfo_ptr": ptrs[0], "jet_x": jet.x, "jet_ptr": ptrs[1]}
    if interface.needs_constituents:
        values["constituent_jet"], values["constituent_pfo"] = batch[CONTAINS].edge_index.unbind(0)
    if not interface.one_event:
        return [values]
    calls = []
    bounds = torch.stack([torch.stack([ptr[:-1], ptr[1:]], dim=1) for ptr in ptrs], dim=1).tolist()
    for (first_pfo, last_pfo), (first_jet, last_jet) in bounds:
        call = {"pfo_x": pfo.x[first_pfo:last_pfo], "jet_x": jet.x[first_jet:last_jet]}
        if interface.needs_constituents:
            jets = values["constituent_jet"]
            mine = slice(*torch.searchsorted(jets, torch.tensor([first_jet, last_jet])).tolist())
            call["constituent_jet"] = jets[mine] - first_jet
            call["constituent_pfo"] = values["constituent_pfo"][mine] - first_pfo
        calls.append(call)
    return calls
