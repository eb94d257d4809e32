"""What every backbone and every tagger must do: one function per property, that fails with a sentence."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.testing.events import joined, reordered, turned
from panoptag_pyg.testing.subjects import Subject, batch_of

#: Events of awkward sizes: none, one, a prime number of PFOs; jets without PFOs, and none.
PFOS = (12, 0, 1, 31, 5, 2, 17)
JETS = (2, 1, 3, 4, 0, 1, 5)
#: Events that can be learnt by heart: several PFOs for each jet.
EASY_PFOS = (9, 13, 7, 11, 8, 12, 10, 9)
EASY_JETS = (2, 3, 1, 2, 2, 3, 2, 1)


def check_output(subject: Subject) -> None:
    """One row for each PFO, jet or event; finite; in the dtype of the weights."""
    for dtype in (torch.float32, torch.float64):
        module = subject.module(dtype)
        batch = batch_of(subject, PFOS, JETS, dtype=dtype)
        y = subject.run(module, batch)
        subject.require(isinstance(y, Tensor), f"must return a tensor, it returned {type(y).__name__}")
        rows, width = subject.rows(batch), getattr(module, "out_dim", getattr(module, "num_classes", None))
        subject.require(
            y.dim() == 2 and len(y) == rows and width in (None, y.size(1)),
            f"must return [{rows}, {'C' if width is None else width}], it returned {list(y.shape)}",
        )
        subject.require(y.dtype == dtype, f"with {dtype} weights and inputs returned {y.dtype}")
        subject.require(bool(torch.isfinite(y).all()), "returned a NaN or infinite number")


def check_permutation(subject: Subject) -> None:
    """Another order of PFOs or of jets changes the order of the output, and nothing else."""
    module, events, y = _fitted(subject)
    generator = torch.Generator().manual_seed(subject.next_seed())
    orders = [
        tuple(torch.randperm(len(event[name].x), generator=generator) for name in ("pfo", "jet")) for event in events
    ]
    moved = subject.run(module, joined([reordered(e, *order) for e, order in zip(events, orders, strict=True)]))
    if len(y) == len(events):
        expected = y
    else:
        which = 0 if len(y) == sum(len(event["pfo"].x) for event in events) else 1
        parts = y.split([len(order[which]) for order in orders])
        expected = torch.cat([part[order[which]] for part, order in zip(parts, orders, strict=True)])
    _require_same(subject, moved, expected, "gives other numbers when PFOs and jets come in another order")


def check_batch_composition(subject: Subject) -> None:
    """An event's output is the same in every batch, in PyG's own batch, and alone."""
    module, events, y = _fitted(subject)
    parts = y.split([subject.rows(event) for event in events])
    for chosen in ([3], [6, 0], [5, 3, 1, 2, 4, 0]):
        alone = subject.run(module, joined([events[e] for e in chosen]))
        expected = torch.cat([parts[e] for e in chosen])
        _require_same(subject, alone, expected, "gives an event other numbers in another batch")
    _require_same(subject, subject.run(module, events[3]), parts[3], "gives an event that isn't batched other numbers")
    batch = joined(events)
    for store in batch.stores:
        store.pop("max_length", None)
    _require_same(subject, subject.run(module, batch), y, "gives other numbers in a batch without max_length")


def check_phi_is_an_angle(subject: Subject) -> None:
    """Adding 2π to every azimuth changes nothing."""
    module, events, y = _fitted(subject)
    moved = subject.run(module, joined([turned(event, subject.next_seed()) for event in events]))
    # φ + 2π has lost a bit or two of φ.
    _require_same(subject, moved, y, "gives other numbers when 2π is added to φ: wrap differences of φ", 1e-7)


def check_odd_events(subject: Subject) -> None:
    """Batches of nothing but empty events, events without jets, jets without PFOs, one PFO: finite, gradients too."""
    for pfos, jets in (((4, 7), (0, 0)), ((0, 0), (2, 1)), ((1,), (1,)), ((0,), (0,)), ((1, 0, 2), (1, 0, 1))):
        module = subject.module()
        batch = batch_of(subject, pfos, jets)
        y = subject.run(module, batch)
        sizes = f"events of {pfos} PFOs and {jets} jets"
        subject.require(len(y) == subject.rows(batch), f"returned {list(y.shape)} for {sizes}")
        subject.require(bool(torch.isfinite(y).all()), f"returned a NaN or infinite number for {sizes}")
        if y.requires_grad:
            y.sum().backward()
        for name, parameter in module.named_parameters():
            fine = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            subject.require(fine, f"has a NaN or infinite gradient at {name} for {sizes}")


def check_gradients(subject: Subject) -> None:
    """A finite gradient that isn't zero reaches every parameter."""
    module = subject.module(torch.float64, train=True)
    batch = batch_of(subject, PFOS + EASY_PFOS, JETS + EASY_JETS, dtype=torch.float64)
    subject.fit(module, batch)
    y = subject.run(module, batch)
    (y * torch.randn_like(y)).sum().backward()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad or name.endswith(subject.without_gradient or ("\0",)):
            continue
        grad = parameter.grad
        subject.require(grad is not None, f"has a parameter that no gradient reaches: {name}")
        subject.require(bool(torch.isfinite(grad).all()), f"has a NaN or infinite gradient: {name}")  # type: ignore[arg-type]
        subject.require(bool((grad != 0).any()), f"has a parameter whose gradient is zero: {name}")  # type: ignore[union-attr]


def check_overfit(subject: Subject) -> None:
    """A handful of events, with random labels, is learnt by heart."""
    module = subject.module(train=True)
    batch = batch_of(subject, EASY_PFOS, EASY_JETS)
    subject.fit(module, batch)
    width = subject.run(module, batch).size(1)
    is_logits = hasattr(module, "num_classes")
    network: nn.Module = module if is_logits else nn.ModuleList([module, nn.Linear(width, 3)])
    labels = subject.labels(module, batch, width if is_logits else 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=subject.learning_rate)

    def logits() -> Tensor:
        y = subject.run(module, batch)
        return y if is_logits else network[1](y)  # type: ignore[index]

    accuracy = 0.0
    for step in range(subject.max_steps):
        optimizer.zero_grad()
        F.cross_entropy(logits(), labels).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 9 or step == subject.max_steps - 1:
            network.eval()
            with torch.no_grad():
                accuracy = (logits().argmax(1) == labels).double().mean().item()
            network.train()
            if accuracy >= 0.95:
                return
    raise AssertionError(
        f"the {subject.kind} learnt {accuracy:.0%} of {len(labels)} labels by heart in {subject.max_steps} steps, "
        f"expected 95% (seed={subject.seed})"
    )


def check_save_and_load(subject: Subject) -> None:
    """Weights and normalisation, written and read into a new network, give the same numbers, bit by bit."""
    module = subject.module()
    batch = batch_of(subject, PFOS, JETS)
    subject.fit(module, batch)
    expected = subject.run(module, batch)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = subject.module()
    other.load_state_dict(torch.load(file, weights_only=True))
    same = torch.equal(subject.run(other, batch), expected)
    subject.require(same, "gives other numbers after its state_dict was saved and loaded: something isn't in it")
    copied = copy.deepcopy(module)
    subject.require(torch.equal(subject.run(copied, batch), expected), "gives other numbers as a deep copy")


def check_reset_and_repr(subject: Subject) -> None:
    """``reset_parameters`` draws every weight anew; ``repr`` is one line."""
    module = subject.module()
    reset = getattr(module, "reset_parameters", None)
    subject.require(reset is not None, "needs a method reset_parameters, which draws its weights anew")
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(torch.nan)
    reset()  # type: ignore[misc]
    for name, parameter in module.named_parameters():
        subject.require(not bool(parameter.isnan().any()), f"leaves {name} as it was in reset_parameters")
        drawn = bool((before[name] != before[name].flatten()[:1]).any())
        subject.require(not drawn or not torch.equal(parameter, before[name]), f"resets {name} to the same numbers")
    lines = len(repr(module).splitlines())
    subject.require(lines == 1, f"has a repr of {lines} lines; one is enough")


def check_compile(subject: Subject) -> None:
    """``torch.compile(dynamic=True)`` gives the same output and gradients, and one graph takes every size of batch."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    module = subject.module()
    # 22 events, 31 jets, 113 PFOs: the compiler takes equal sizes for the same, and no network is so wide.
    first = batch_of(subject, PFOS + (3,) * 15, JETS + (1,) * 15)
    subject.fit(module, first)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(module, dynamic=True, fullgraph=subject.fullgraph, backend=counter)
    graphs = []
    for batch in (first, batch_of(subject, (40, 3, 11), (2, 5, 4))):
        try:
            actual = _with_gradients(subject, compiled, module, batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise AssertionError(f"the {subject.kind} does not compile as one graph: {reason}") from error
        expected = _with_gradients(subject, module, module, batch)
        graphs.append(counter.frame_count)
        for (name, a), (_, b) in zip(actual, expected, strict=True):
            scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
            close = bool(((a - b).abs() <= 1e-4 * scale).all())
            subject.require(close, f"gives other numbers when compiled: {name}")
    torch._dynamo.reset()
    if subject.fullgraph:
        subject.require(graphs[0] == graphs[1], "is compiled again for a batch of another size")


def check_autocast(subject: Subject) -> None:
    """Under bfloat16 autocast, with float32 weights: close to float32, finite gradients."""
    module = subject.module()
    batch = batch_of(subject, PFOS, JETS)
    subject.fit(module, batch)
    with torch.no_grad():
        expected = subject.run(module, batch)
    with torch.autocast("cpu", torch.bfloat16):
        y = subject.run(module, batch)
        loss = y.float().square().mean()
    loss.backward()
    error, size = (y - expected).abs().mean().item(), expected.abs().mean().item()
    subject.require(
        error <= 0.1 * size + 0.01, f"is off by {error:.2g} on average in bfloat16, at a size of {size:.2g}"
    )
    for name, parameter in module.named_parameters():
        fine = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
        subject.require(fine, f"has a NaN or infinite gradient in bfloat16 at {name}")


#: Every property, in the order in which a new network is best mended.
CHECKS: dict[str, Callable[[Subject], None]] = {
    "output": check_output,
    "odd_events": check_odd_events,
    "permutation": check_permutation,
    "batch_composition": check_batch_composition,
    "phi_is_an_angle": check_phi_is_an_angle,
    "gradients": check_gradients,
    "overfit": check_overfit,
    "save_and_load": check_save_and_load,
    "reset_and_repr": check_reset_and_repr,
    "autocast": check_autocast,
    "compile": check_compile,
}


def _fitted(subject: Subject) -> tuple[nn.Module, list[HeteroData], Tensor]:
    """A float64 network that tells events apart, events, and its output on their batch."""
    module = subject.module(torch.float64)
    events = subject.events(PFOS, JETS, dtype=torch.float64)
    batch = joined(events)
    subject.fit(module, batch)
    with torch.no_grad():
        y = subject.run(module, batch)
    different = len(y) < 2 or bool((y - y[:1]).abs().max() > 0)
    subject.require(different, "gives the same numbers to everything")
    return module, events, y


def _require_same(subject: Subject, a: Tensor, b: Tensor, sentence: str, tolerance: float = 0.0) -> None:
    subject.require(a.shape == b.shape, f"{sentence}: {list(a.shape)} instead of {list(b.shape)}")
    if b.numel():
        error = (a - b).abs().max().item() / max(b.abs().max().item(), 1e-300)
        subject.require(error <= max(subject.tolerance, tolerance), f"{sentence}: off by {error:.1g} of the largest")


def _with_gradients(
    subject: Subject, called: Callable, module: nn.Module, batch: HeteroData
) -> list[tuple[str, Tensor]]:
    module.zero_grad()
    y = subject.run(called, batch)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    grads = [(name, p.grad.clone()) for name, p in module.named_parameters() if p.grad is not None]
    return [("its output", y.detach()), *((f"the gradient of {name}", grad) for name, grad in grads)]
