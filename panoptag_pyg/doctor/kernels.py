"""Which kernels run here, why the others don't, and whether a tagger's answers depend on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

DEVICES = ("cpu", "cuda")
#: Largest difference of logits between kernels that rounding explains: float32, a network of a few layers.
TOLERANCE = 1e-3


def describe_backends() -> dict[str, Any]:
    """What there is here: per operation its backends, what "auto" tries in order, and what overrides it.

    Raises:
        ConfigError: for a ``PANOPTAG_BACKEND`` that can't be followed.
    """
    import torch

    from panoptag_pyg import ops
    from panoptag_pyg.ops import registry

    operations = {}
    for op in ops.operations():
        operations[op] = {
            "backends": {
                name: {
                    "available": reason is None,
                    "reason": reason,
                    "devices": list(registry.get(op, name).devices),
                    "conditional": registry.get(op, name).conditional,
                }
                for name, reason in ops.available(op).items()
            },
            "auto": {device: registry.auto_order(op, device) for device in DEVICES},
            "override": registry.overridden(op)[0],
        }
    return {
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        registry.ENVIRONMENT_VARIABLE: os.environ.get(registry.ENVIRONMENT_VARIABLE),
        "operations": operations,
    }


def backends() -> Iterator[Finding]:
    """Which backend each device takes first, and why the others can't be used."""
    import torch

    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.ops.registry import ENVIRONMENT_VARIABLE

    try:
        found = describe_backends()
    except ConfigError as error:
        yield Finding("kernels", PROBLEM, str(error), f"unset {ENVIRONMENT_VARIABLE}, or name one that is here")
        return
    override = found[ENVIRONMENT_VARIABLE]
    if override:
        advice = "Unset it to let each operation take its quickest."
        yield Finding("kernels", NOTE, f"{ENVIRONMENT_VARIABLE}={override} chooses", advice, {"override": override})
    for device in DEVICES[: 1 + torch.cuda.is_available()]:
        first: dict[str, list[str]] = {}
        for op, entry in found["operations"].items():
            first.setdefault(entry["auto"][device][0], []).append(op)
        told = "; ".join(f"{name}: {', '.join(ops)}" for name, ops in first.items())
        text = f'on {device} "auto" takes {told}'
        quick = {"cpu": "numba", "cuda": "triton"}[device]
        slow = quick not in first and not override
        advice = f"Without {quick} most operations are plain torch, and slower: {_reason(found, quick)}" if slow else ""
        yield Finding("kernels", NOTE if slow else OK, text, advice, {"device": device, "first": first})
    reasons: dict[str, list[str]] = {}
    for op, entry in found["operations"].items():
        for name, backend in entry["backends"].items():
            if backend["reason"]:
                reasons.setdefault(f"{name}: {backend['reason']}", []).append(op)
    for reason, ops in reasons.items():
        yield Finding("kernels", OK, f"not used here: {reason}", values={"operations": ops})


def _reason(found: dict[str, Any], name: str) -> str:
    """Why no operation has a backend here."""
    every = (entry["backends"].get(name, {}).get("reason") for entry in found["operations"].values())
    return next(filter(None, every), "it has none for this device")


def tagger() -> Iterator[Finding]:
    """A small PanopTag on sample events: the same answers with the quickest kernels as with the plain reference."""
    import torch

    from panoptag_pyg import ops
    from panoptag_pyg.evaluation.catalogue import sample_batch
    from panoptag_pyg.models import build_tagger

    batch = sample_batch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = build_tagger(
            "panoptag", dim=16, num_heads=2, k=4, num_inducing=4, num_local_layers=1, num_global_layers=1,
            num_decoder_layers=1,
        ).eval()  # fmt: skip
    model.fit_normalisation(batch)
    for place in DEVICES[: 1 + torch.cuda.is_available()]:
        try:
            if place == "cpu":
                with torch.no_grad(), ops.use_backend("reference"):
                    wanted = model(batch)
            moved, events = model.to(place), batch.clone().to(place)
            logits = moved(events)
            logits.square().mean().backward()
            difference = float((logits.detach().cpu() - wanted).abs().max())
        except Exception as error:  # whatever it is: this is where it should show
            words = (str(error).strip().splitlines() or [""])[0]  # some errors say nothing
            told = f"a tagger doesn't run on {place}: {type(error).__name__}: {words}"
            yield Finding("tagger", PROBLEM, told, "panoptag backends says what each operation takes")
            return
        values = {"device": place, "jets": len(wanted), "largest_difference": difference}
        text = f"a small PanopTag runs on {place}, forward and backward: {len(wanted)} jets of sample events"
        if difference < TOLERANCE:
            text += f", the same as by the plain reference (largest difference of logits {difference:.0e})"
            yield Finding("tagger", OK, text, values=values)
        else:
            text += f", but logits differ from the plain reference's by up to {difference:.2g}"
            advice = "Compare PANOPTAG_BACKEND=torch; please report it with the output of panoptag doctor --json."
            yield Finding("tagger", PROBLEM, text, advice, values)
