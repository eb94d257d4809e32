"""weaver-core's ParT and ParticleNet as its users run them, padded; and exported to ONNX as weaver-core does it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.models import ParticleNet, ParticleTransformer
from panoptag_pyg.models.cost import num_parameters
from panoptag_pyg.models.weaver_tagger import WeaverTagger

from ..compare import not_installed
from ..models.ragged_taggers import ARGUMENTS
from ..peers import weaver
from ..rows import Work
from .subjects import JET, Subject, weight_bytes

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "ParT": weaver.particle_transformer,
    "ParticleNet": weaver.particle_net,
}
#: Inputs of weaver-core's networks, in the order of :class:`weaver.Jets`, and what each network takes of them.
INPUTS = ("points", "features", "vectors", "mask")
TAKEN = {"ParT": ("features", "vectors", "mask"), "ParticleNet": ("points", "features", "mask")}


def missing_weaver() -> str | None:
    """Why weaver-core's taggers can't be measured; ``None`` if they can."""
    return not_installed("weaver.nn.model.ParticleTransformer", weaver.INSTALL)


def weaver_model(name: str, seed: int) -> nn.Module:
    """weaver-core's ``"ParT"`` or ``"ParticleNet"`` with random weights."""
    torch.manual_seed(seed)
    return MAKERS[name]()


def same_weights(name: str, peer: nn.Module) -> WeaverTagger:
    """Our ParT or ParticleNet with the weights of weaver-core's."""
    cls = ParticleTransformer if name == "ParT" else ParticleNet
    return cls.from_weaver(peer.state_dict(), num_classes=3, **ARGUMENTS[name]).eval()


def weaver_subject(name: str, peer: nn.Module | None, device: torch.device, missing: str | None) -> Subject:
    """All jets of the events in one batch, padded to its longest.

    Args:
        name: ``"ParT"`` or ``"ParticleNet"``.
        peer: the network; ``None`` where weaver-core isn't installed.
        device: where it computes.
        missing: why it can't be measured.
    """
    key, title = f"weaver-{name.lower()}", f"{name} (weaver-core)"
    if peer is None:
        return Subject(key, title, JET, missing=missing)
    model = peer.to(device).eval()

    def prepare(block: EventBlock) -> weaver.Jets:
        return weaver.jets_of(block).to(device)

    def score(jets: weaver.Jets) -> Tensor:
        with torch.inference_mode():
            return weaver.tagger_call(model, jets)()

    def work(block: EventBlock) -> Work:
        jets = prepare(block)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            weaver.tagger_call(model, jets)()
        read = sum(part.numel() * 4 for part in (jets.features, jets.vectors, jets.mask))
        return Work(counter.get_total_flops(), weight_bytes(model) + read)

    return Subject(key, title, JET, prepare, score, num_parameters(model), work, of=name.lower())


class _Named(nn.Module):
    """The network with all four inputs by position, as an exporter calls it."""

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.network = name, network

    def forward(self, points: Tensor, features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        if self.name == "ParticleNet":
            return self.network(points, features, mask)
        return self.network(features, v=vectors, mask=mask)


def weaver_onnx_subject(
    name: str, peer: nn.Module | None, folder: Path, example: EventBlock, missing: str | None
) -> Subject:
    """weaver-core's network under onnxruntime, exported by tracing as weaver-core's own ``--export-onnx`` does.

    Args:
        name: ``"ParT"`` or ``"ParticleNet"``.
        peer: the network.
        folder: for the file.
        example: events to trace it with.
        missing: why it can't be measured.
    """
    key, title = f"weaver-{name.lower()}-onnx", f"{name} (weaver-core, ONNX)"
    missing = missing or not_installed("onnxruntime", "pip install 'panoptag-pyg[export]'")
    if peer is None or missing is not None:
        return Subject(key, title, JET, runtime="onnx", of=f"weaver-{name.lower()}", missing=missing)
    path = folder / f"{key}.onnx"
    jets = weaver.jets_of(example)
    try:
        export_by_tracing(_Named(name, peer.cpu()).eval(), jets, path)
    except Exception as error:  # another torch, another weaver-core: the row is left out, the run goes on
        reason = f"not exported: {type(error).__name__}: {str(error).splitlines()[0][:160]}"
        return Subject(key, title, JET, runtime="onnx", of=f"weaver-{name.lower()}", missing=reason)
    runner = OnnxRunner(path)

    def prepare(block: EventBlock) -> dict[str, Any]:
        jets = weaver.jets_of(block)
        return {one: getattr(jets, one).numpy() for one in TAKEN[name]}

    return Subject(
        key, title, JET, prepare, runner, num_parameters(peer), runtime="onnx",
        of=f"weaver-{name.lower()}", set_threads=runner.set_threads,
    )  # fmt: skip


def export_by_tracing(network: nn.Module, jets: weaver.Jets, path: Path) -> None:
    """Write an ONNX file whose numbers of jets and constituents are free."""
    arguments = tuple(getattr(jets, one) for one in INPUTS)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, arguments, str(path), dynamo=False, input_names=list(INPUTS), output_names=["logits"],
            dynamic_axes={one: {0: "jets", 2: "constituents"} for one in INPUTS}, opset_version=17,
        )  # fmt: skip


class OnnxRunner:
    """A session of onnxruntime on the CPU, made anew for another number of threads.

    Args:
        path: the ONNX file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: dict[int, Any] = {}
        self.set_threads(torch.get_num_threads())

    def set_threads(self, threads: int) -> None:
        """Use a session with so many threads within an operation."""
        if threads not in self.sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # Threads that spin between two calls would take the cores of whoever is measured next.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 3
            self.sessions[threads] = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        self.session = self.sessions[threads]

    def __call__(self, inputs: dict[str, Any]) -> Any:
        return self.session.run(None, inputs)[0]
