"""PanopTag on ragged events against the padded, masked implementation, side by side in one run.

    python -m benchmarks.models.panoptag --data demo/data/train --threads 2
    python -m benchmarks.models.panoptag --size small --stages

Both models have the same weights and get the same batch; their logits are compared before anything is timed.
Rounds alternate between the two. The floor is the counted FLOPs of the factored model at the matrix-product
rate measured on this machine in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch_geometric.data import HeteroData

from benchmarks.machine import describe_machine
from benchmarks.models.flops import forward_flops, gemm_rate
from benchmarks.peers.padded_panoptag import PaddedPanopTag
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.models import PanopTag

SIZES: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {"dim": 64, "num_heads": 4, "k": 8, "num_inducing": 32, "num_decoder_layers": 2},
}
EDGE_MLP_LAYERS = {"paper": 3, "small": 2}


def random_events(num_events: int, seed: int, max_pfos: int | None) -> HeteroData:
    """A batch whose sizes follow tt̄ events: log-normal, median 290 PFOs, 95 % below 460; about 5 jets."""
    rng = np.random.default_rng(seed)
    pfos = np.exp(rng.normal(np.log(290), 0.28, num_events)).astype(int).clip(1, max_pfos)
    jets = rng.poisson(5, num_events)
    batch = HeteroData()
    for name, lengths, features in (("pfo", pfos, PFO_FEATURES), ("jet", jets, JET_FEATURES)):
        x = torch.from_numpy(rng.normal(size=(int(lengths.sum()), len(features)))).float()
        eta, phi = features.index("eta"), features.index("phi")
        x[:, phi] = torch.from_numpy(rng.uniform(-np.pi, np.pi, len(x)))
        batch[name].x, batch[name].pos = x, x[:, [eta, phi]]
        batch[name].ptr = torch.tensor([0, *np.cumsum(lengths)])
        batch[name].max_length = int(lengths.max())
    batch["jet"].y = torch.from_numpy(rng.integers(0, 3, int(jets.sum())))
    return batch


def file_events(paths: list[str], num_events: int, max_pfos: int | None) -> HeteroData:
    """The first events of a file as one batch."""
    dataset = EventDataset(paths, max_pfos=max_pfos)[:num_events]
    return next(iter(EventLoader(dataset, batch_size=len(dataset))))


def forward(model: torch.nn.Module, batch: HeteroData) -> Callable[[], object]:
    """One inference step."""

    def step() -> object:
        with torch.no_grad():
            return model(batch)

    return step


def training_step(model: torch.nn.Module, batch: HeteroData) -> Callable[[], object]:
    """Forward and backward, without the optimiser (the same for both)."""

    def step() -> object:
        model.zero_grad()
        loss = F.cross_entropy(model(batch), batch["jet"].y.clamp(min=0))
        loss.backward()
        return loss

    return step


def synchronise(device: torch.device) -> None:
    """Wait for an accelerator."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """Wall time of one step."""
    synchronise(device)
    start = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - start


def compare(
    ours: torch.nn.Module, peer: torch.nn.Module, batch: HeteroData, flops: int, rate: float, repeats: int
) -> list[dict[str, Any]]:
    """Alternate the two models, forward and training; one row for each."""
    device = batch["pfo"].x.device
    rows = []
    for name, make, factor in (("forward", forward, 1), ("training", training_step, 3)):
        steps = make(ours, batch), make(peer, batch)
        times: list[list[float]] = [[], []]
        for repeat in range(repeats + 1):
            for own, step in zip(times, steps, strict=True):
                seconds = seconds_of(step, device)
                if repeat:
                    own.append(seconds)
        ratios = [b / a for a, b in zip(*times, strict=True)]
        median = statistics.median(times[0])
        rows.append(
            {
                "step": name,
                "ours_ms": 1e3 * median,
                "padded_ms": 1e3 * statistics.median(times[1]),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "events_per_second": (batch["pfo"].ptr.numel() - 1) / median,
                "gflop": factor * flops / 1e9,
                "floor_ms": 1e3 * factor * flops / rate,
                "share_of_gemm_rate": factor * flops / rate / median,
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """For people."""
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "ours [ms]", "padded [ms]", "ratio", "events/s", "GFLOP", "floor [ms]", "of GEMM rate")
    for row in rows:
        low, high = row["ratio_range"]
        table.add_row(
            row["step"],
            f"{row['ours_ms']:.0f}",
            f"{row['padded_ms']:.0f}",
            f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})",
            f"{row['events_per_second']:.1f}",
            f"{row['gflop']:.1f}",
            f"{row['floor_ms']:.0f}",
            f"{row['share_of_gemm_rate']:.0%}",
        )
    Console().print(table)


def main() -> None:
    """Compare, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", nargs="+", help="event files; default: random events of realistic sizes")
    parser.add_argument("--size", choices=list(SIZES), default="paper")
    parser.add_argument("--edge-mlp-layers", type=int, help="default: 3 for paper, 2 for small")
    parser.add_argument("--events", type=int, default=64)
    parser.add_argument("--max-pfos", type=int, help="keep the leading PFOs only, 128 in the paper")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", action="store_true", help="also print where our time goes (torch.profiler)")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    if options.data:
        batch = file_events(options.data, options.events, options.max_pfos)
    else:
        batch = random_events(options.events, options.seed, options.max_pfos)
    layers = options.edge_mlp_layers or EDGE_MLP_LAYERS[options.size]
    ours = PanopTag(**SIZES[options.size], backbone_options={"edge_mlp_layers": layers})
    peer = PaddedPanopTag(**SIZES[options.size], edge_mlp_layers=layers)
    ours.fit_normalisation(batch["pfo"].x, batch["jet"].x)
    peer.load_state_dict(ours.state_dict())
    batch, ours, peer = batch.to(options.device), ours.to(options.device), peer.to(options.device)
    with torch.no_grad():
        difference = float((ours(batch) - peer(batch)).abs().max())
    # Near-equal distances in feature space may pick another neighbour in float32: rare, and small.
    assert difference < 0.05, f"the two models disagree by {difference}"

    flops = forward_flops(ours, batch)
    rate = gemm_rate(ours.dim, torch.device(options.device))
    rows = compare(ours, peer, batch, flops, rate, options.repeats)
    print_table(rows)
    if options.stages:
        with torch.profiler.profile() as profile:
            training_step(ours, batch)()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))
    result = {
        "benchmark": "models/panoptag",
        "machine": describe_machine(),
        "device": options.device,
        "threads": options.threads,
        "size": options.size,
        "edge_mlp_layers": layers,
        "parameters": sum(p.numel() for p in ours.parameters()),
        "data": options.data or "log-normal sizes",
        "events": batch["pfo"].ptr.numel() - 1,
        "pfos": len(batch["pfo"].x),
        "longest": int(batch["pfo"].ptr.diff().max()),
        "jets": len(batch["jet"].x),
        "largest_difference_of_logits": difference,
        "gemm_gflop_per_second": rate / 1e9,
        "rows": rows,
    }
    output = options.output or Path(f"benchmarks/results/panoptag-{options.size}-{options.device}.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
