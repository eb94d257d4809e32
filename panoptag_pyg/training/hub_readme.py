"""The model card of a shared tagger: what it is, what it was trained on, its figures, how to load it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: A card with this line is ours, and may be replaced.
MARK = "<!-- Written by panoptag export; without this line it is yours, and stays. -->"
#: Figures that a reader looks for first.
_FIRST = ("val_loss", "val_accuracy", "val_auc")
_FIGURES_SHOWN = 20

_HEAD = """---
library_name: panoptag-pyg
tags:
- high-energy-physics
- jet-tagging
- {model_type}
---
{mark}
# {name}

A tagger `{model_type}` for the task `{task}`, trained with [panoptag-pyg]({url}) {trained_with}: {num_parameters:,}
parameters.

## Use

```python
from panoptag_pyg.training import load_tagger
model, recipe = load_tagger("{name}")  # this folder
```

```
panoptag predict {name} --data EVENTS.h5 -o scores.h5
panoptag evaluate {name} --data EVENTS.h5
```

Nothing in this folder is code, and nothing of it is run when it is read: `config.json` holds the recipe, the outputs,
the features with their units and what is known of the training data; `model.safetensors` the weights.
"""
_URL = "https://pypi.org/project/panoptag-pyg/"


def hub_readme(config: dict[str, Any], name: str, summary: dict[str, Any]) -> str:
    """The card, in Markdown with the hub's head.

    Args:
        config: what ``config.json`` says.
        name: of the folder.
        summary: the run's ``summary.json``; may be empty.
    """
    told = {key: config[key] for key in ("model_type", "task", "trained_with", "num_parameters")}
    parts = [
        _HEAD.format(mark=MARK, name=name, url=_URL, **told),
        "## Outputs\n\n" + "\n".join(_outputs(config)) + "\n",
        "## Training data\n\n" + "\n".join(_data(config)) + "\n",
        *(["## Figures\n\n" + "\n".join(figures) + "\n"] if (figures := list(_figures(config, summary))) else []),
    ]
    return "\n".join(parts)


def _outputs(config: dict[str, Any]) -> Iterator[str]:
    yield "| task | of each | outputs |"
    yield "|---|---|---|"
    for output in config["outputs"]:
        classes = ", ".join(output["classes"]) or str(output["num_outputs"])
        yield f"| {output['name']} | {output['level']} | {classes} |"
    features = ", ".join(f"{f['name']}" + (f" ({f['unit']})" if f["unit"] else "") for f in config["pfo_features"])
    jets = ", ".join(f"{f['name']}" + (f" ({f['unit']})" if f["unit"] else "") for f in config["jet_features"])
    yield ""
    yield f"It reads of each particle-flow object {features}; of each jet {jets}."


def _data(config: dict[str, Any]) -> Iterator[str]:
    from panoptag_pyg.training.data_card import TrainingCard

    card = config["data_card"]
    if not card:
        yield "Nothing is recorded of it."
        return
    for line in TrainingCard.parse(card).lines():
        yield f"- {line}"


def _figures(config: dict[str, Any], summary: dict[str, Any]) -> Iterator[str]:
    best = summary.get("best") if isinstance(summary.get("best"), dict) else None
    found = {name: value for name, value in (best or config["metrics"]).items() if isinstance(value, (int, float))}
    shown = [name for name in (*_FIRST, *found) if name in found and name.startswith("val_")]
    shown = list(dict.fromkeys(shown))[:_FIGURES_SHOWN]
    if not shown:
        return
    yield "On the run's validation events, by which its epoch was chosen:"
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    for name in shown:
        yield f"| {name} | {found[name]:.5g} |"
