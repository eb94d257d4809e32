"""All subjects of a run: PanopTag of two sizes and two cuts, panoptag_plus, ParT, ParticleNet, weaver-core's, ONNX."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.fields import Fields

from ..compare import relative_error
from ..settings import SIZES
from ..study.plan import RECIPES, Plan, digest
from .exported import on_cpu, onnx_subjects
from .peers import missing_weaver, same_weights, weaver_model, weaver_onnx_subject, weaver_subject
from .subjects import Subject, built, tagger_subject

#: PFOs that the paper keeps, and further cuts that PanopTag is measured with in one cell.
PAPER_PFOS, CUTS = 128, (64, 256, 512)
#: Allowed ‖difference‖ / ‖expected‖ of the logits of two subjects with the same weights: a few near-equal distances may
#: pick another neighbour.
TOLERANCE = 1e-3
STUDY = "study:"


def paper_options() -> dict[str, Any]:
    """The paper's PanopTag, as a recipe's section ``model``."""
    options = dict(SIZES["paper"])
    edge_mlp_layers = options.pop("edge_mlp_layers")
    return {"name": "panoptag", **options, "backbone_options": {"edge_mlp_layers": edge_mlp_layers}}


def study_options(recipe: str) -> dict[str, Any]:
    """The section ``model`` of one of the study's recipes."""
    return tomllib.loads((RECIPES / f"{recipe}.toml").read_text(encoding="utf-8"))["model"]


def lineup(
    example: EventBlock, device: torch.device, folder: Path, seed: int, cut_cells: Iterable[str], small_only: bool
) -> list[Subject]:
    """Who is measured in the cells of the grid; those that can't run say why.

    Args:
        example: some events, to fit normalisations and to trace exports with.
        device: where all but ONNX compute.
        folder: for exported files.
        seed: of the weights.
        cut_cells: names of the cells in which PanopTag is measured with further cuts.
        small_only: only taggers of the study's size.
    """
    batch = block_to_batch(example, fields=Fields(constituents=True))
    cells = frozenset(cut_cells)
    found = _event_level(batch, device, seed, cells, small_only)
    part, particlenet = (built(study_options(name), batch, seed) for name in ("part", "particlenet"))
    found += [
        tagger_subject("part-small", "ParT, d = 64", part, device, size="study"),
        tagger_subject("particlenet-small", "ParticleNet, half width", particlenet, device, size="study"),
    ]
    if not small_only:
        found += _published_jet_level(example, batch, device, folder, seed)
        if device.type == "cpu":
            found += onnx_subjects(found, folder)
    return found


def _event_level(batch: Any, device: torch.device, seed: int, cells: frozenset[str], small_only: bool) -> list[Subject]:
    small = built(study_options("panoptag"), batch, seed)
    plus = built(study_options("panoptag_plus"), batch, seed)
    models: list[tuple[str, str, nn.Module, str]] = [("panoptag-small", "PanopTag, d = 64", small, "study")]
    if not small_only:
        models.insert(0, ("panoptag", "PanopTag", built(paper_options(), batch, seed), "published"))
    found = []
    for key, title, model, size in models:
        for most in (PAPER_PFOS, None, *(CUTS if cells else ())):
            only = cells if most in CUTS else None
            words = f"{title}, {f'{most} PFOs' if most else 'all PFOs'}"
            name = f"{key}-{most or 'all'}"
            found.append(tagger_subject(name, words, model, device, most, size=size, only=only))
    name, words = f"plus-small-{PAPER_PFOS}", f"panoptag_plus, d = 64, {PAPER_PFOS} PFOs"
    found.append(tagger_subject(name, words, plus, device, PAPER_PFOS, size="study"))
    return found


def _published_jet_level(
    example: EventBlock, batch: Any, device: torch.device, folder: Path, seed: int
) -> list[Subject]:
    """ParT and ParticleNet as published: ours and weaver-core's with the same weights, where that is installed."""
    found, exported, missing = [], [], missing_weaver()
    for name in ("ParT", "ParticleNet"):
        peer = None if missing else weaver_model(name, seed)
        model = built({"name": name.lower()}, batch, seed) if peer is None else same_weights(name, peer)
        found.append(tagger_subject(name.lower(), name, model, device))
        exported.append(weaver_onnx_subject(name, peer, folder, example, missing))
        found.append(weaver_subject(name, peer, device, missing))
    return [*found, *on_cpu(exported, device)]


def study_subjects(example: EventBlock, device: torch.device, seed: int, cell: str) -> list[Subject]:
    """The study's taggers, one for each model and cut that it trains; measured in one cell.

    Args:
        example: events to fit normalisations with.
        device: where they compute.
        seed: of the weights: cost doesn't depend on what was learnt.
        cell: its name.
    """
    batch = block_to_batch(example, fields=Fields(constituents=True))
    found: dict[str, Subject] = {}
    for entry, key, options, most in study_models(Plan()):
        name = STUDY + entry
        if key not in found:
            model = built(options, batch, seed)
            found[key] = tagger_subject(
                name, entry, model, device, most, size="study", only=frozenset([cell]), cost_key=key
            )
    return list(found.values())


def study_models(plan: Plan) -> list[tuple[str, str, dict[str, Any], int | None]]:
    """Name, :func:`cost_key`, section ``model`` and ``max_pfos`` of every entry.

    Heads of auxiliary losses aren't in it: who tags does without them.
    """
    found: list[tuple[str, str, dict[str, Any], int | None]] = []
    for run in plan.runs():
        recipe = run.recipe()
        if run.entry.name in {name for name, *_ in found}:
            continue
        options = {"name": recipe.model.name, **recipe.model.options}
        found.append((run.entry.name, cost_key(options, recipe.data.max_pfos), options, recipe.data.max_pfos))
    return found


def cost_key(model: dict[str, Any], max_pfos: int | None) -> str:
    """Names what a tagger costs: its architecture and how many PFOs it takes, whatever else the training was."""
    return digest(model, max_pfos)


def chosen(subjects: Sequence[Subject], patterns: Sequence[str]) -> list[Subject]:
    """Those whose names match one of the patterns; all if there are none.

    Raises:
        ConfigError: if a pattern fits nobody.
    """
    for pattern in patterns:
        if not any(fnmatch(subject.name, pattern) for subject in subjects):
            names = ", ".join(subject.name for subject in subjects)
            raise ConfigError(f"there is no subject '{pattern}'; there are {names}")
    return [s for s in subjects if not patterns or any(fnmatch(s.name, pattern) for pattern in patterns)]


def check(subjects: Sequence[Subject], blocks: Sequence[EventBlock]) -> None:
    """Hold each subject to the one with the same weights; who fails, or deviates, says so and isn't timed.

    Args:
        subjects: all of them.
        blocks: events to compare logits on.
    """
    by_name = {subject.name: subject for subject in subjects}
    for subject in subjects:
        if subject.missing is not None:
            continue
        try:
            for block in blocks:
                logits = subject.logits(block)
                if logits.shape != (block.num_jets, logits.size(-1)) or not bool(torch.isfinite(logits).all()):
                    raise ValueError("logits are not one finite row for each jet")
                base = by_name.get(subject.of or "")
                if base is None or base.missing is not None:
                    continue
                expected = base.logits(block)
                deviation = relative_error(logits, expected)
                if not deviation <= TOLERANCE:
                    raise ValueError(f"logits deviate by {deviation:.2g} from those of {base.name}")
        except Exception as error:  # the others are still worth measuring
            text = str(error).splitlines()[0][:200] if str(error) else ""
            subject.missing = f"failed: {type(error).__name__}: {text}"
