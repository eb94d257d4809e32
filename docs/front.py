"""The measured tables of the front page and of the comparison with other toolkits, made when the site is built.

Each is a file in docs/_generated that a page includes; the numbers are those of ``benchmarks/results``.
"""

from __future__ import annotations

import json
from operator import gt, lt
from typing import Any

import benchmark_tables
import latency_tables

from panoptag_pyg.benchmarks.latency_study import tables as latency_study
from panoptag_pyg.benchmarks.report import number, title
from panoptag_pyg.benchmarks.study.measure import SEEN
from panoptag_pyg.benchmarks.study.record import RESULTS
from panoptag_pyg.benchmarks.study.tables import results_table

#: Entries of the study that the sentence below its table is about; the first is PanopTag as published.
COMPARED = ("panoptag", "part", "particlenet")
#: Whose crossovers are told: at the published size, and at that of the study.
CROSSOVERS = ("**PanopTag, 128 PFOs** against **ParT**", "**PanopTag, d = 64, 128 PFOs** against **ParT, d = 64**")
#: Rows of `panoptag bench`: suite, name of the row, and the peers that are shown. Where ours loses is among them.
FRONT = (
    ("models", "forward-all", ("padded",)),
    ("models", "training-all", ("padded",)),
    ("models", "memory", ("padded",)),
    ("models", "against-part", ("weaver ParT, all jets at once", "weaver ParT, quickest batches")),
    ("kernels", "edge-conv-training-all", ("PyG EdgeConv",)),
    ("kernels", "knn-features-all", ("torch-cluster",)),
    ("loader", "epoch", ("PyG DataLoader",)),
)
PEERS = (
    (
        "models",
        "against-part",
        ("weaver ParT, all jets at once", "weaver ParT, quickest batches", "weaver ParT, sorted by length"),
    ),
    (
        *("models", "against-particlenet"),
        (
            "weaver ParticleNet, all jets at once",
            "weaver ParticleNet, quickest batches",
            "weaver ParticleNet, sorted by length",
        ),
    ),
    ("kernels", "edge-conv-forward-all", ("PyG EdgeConv",)),
    ("kernels", "edge-conv-training-all", ("PyG EdgeConv",)),
    ("kernels", "knn-2d-128", ("torch-cluster", "scipy cKDTree")),
    ("kernels", "knn-features-all", ("torch-cluster",)),
    ("kernels", "segment-sum", ("torch-scatter", "PyG scatter")),
    ("kernels", "segment-softmax", ("torch-scatter", "PyG softmax")),
    ("loader", "collate", ("Batch.from_data_list",)),
    ("loader", "epoch", ("PyG DataLoader",)),
)


def ratios(chosen: tuple[tuple[str, str, tuple[str, ...]], ...]) -> str:
    """Some rows of the committed benchmarks, ours as `backend="auto"` takes it, with the ratios of all rounds.

    Args:
        chosen: suite, row and peers; a row that isn't there is an error, so that none is lost in silence.
    """
    runs = benchmark_tables.committed()
    used: dict[str, str] = {}
    lines = ["| what | ours | against | ratio (rounds) |", "|---|---|---|---:|"]
    for suite, name, peers in chosen:
        for peer in peers:
            found = [
                (row, run)
                for run in runs
                for row in run["rows"]
                if (run["benchmark"], row["name"], (row["peer"] or {}).get("name")) == (suite, name, peer)
                and row["ratio"]
            ]
            if not found:
                raise SystemExit(
                    f"docs/front.py wants the row {name} against {peer} of `panoptag bench {suite}`: not committed"
                )
            # Ours as chosen by "auto" is the first of several.
            row, run = found[0]
            used[run["date"]] = title(run).partition(": ")[2]
            low, high = row["ratio_range"]
            rounds = "" if low == high else f" ({number(low)}–{number(high)})"
            ours = row["ours"]["name"].removeprefix("auto: ")
            lines.append(f"| {row['measure']} | {ours} | {peer} | {number(row['ratio'])}{rounds} |")
    dates, machines = " and ".join(sorted(used)), "; ".join(sorted(set(used.values())))
    return "\n".join(lines) + f"\n\nMeasured {dates}: {machines}.\n"


def study(summary: dict[str, Any]) -> str:
    """The taggers of the study beside each other, in the setup to believe."""
    done = sum(len(row["seeds"]) for values in summary["setups"].values() for row in values["entries"].values())
    total = done + len(summary["missing"])
    state = "" if not summary["missing"] else f" {done} of {total} runs of the plan are done."
    # As docs/conf.py does it in pages: a value and its uncertainty stay on one line.
    table = results_table(summary, "realistic", SEEN).replace(" ± ", "\u00a0±\u00a0")
    return f"{table}\n\n{outcome(summary)}{state}\n"


def outcome(summary: dict[str, Any]) -> str:
    """Which single-jet taggers lie above PanopTag as published in both accuracy and AUC, and which below in both."""
    entries = summary["setups"]["realistic"]["entries"]
    ours, *others = ([entries[name]["figures"][SEEN][key]["value"] for key in ("accuracy", "auc")] for name in COMPARED)
    labels = [entries[name]["title"] for name in COMPARED[1:]]
    above = [label for label, values in zip(labels, others, strict=True) if all(map(gt, values, ours))]
    below = [label for label, values in zip(labels, others, strict=True) if all(map(lt, values, ours))]
    said = [f"{' and '.join(names)} {verb}" for names, verb in ((above, "did better"), (below, "did worse")) if names]
    if not said:
        return "At this size, no single-jet tagger is above or below PanopTag as published in both accuracy and AUC."
    return f"At this size, {', '.join(said)} in accuracy and AUC than PanopTag as published."


def crossovers() -> str:
    """From how many jets on one pass per event is cheaper than one per jet, for two pairs of taggers."""
    result = json.loads(latency_tables.RESULT.read_text(encoding="utf-8"))
    lines = latency_study.answer(result).splitlines()
    return "\n".join(line for line in lines if any(pair in line for pair in CROSSOVERS)) + "\n"


def pages() -> dict[str, str]:
    """Name → text of every file that pages include."""
    summary = json.loads((RESULTS / "summary.json").read_text(encoding="utf-8"))
    return {
        "front-ratios": ratios(FRONT),
        "front-peers": ratios(PEERS),
        "front-study": study(summary),
        "front-crossovers": crossovers(),
    }
