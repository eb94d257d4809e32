"""One optimiser step's loss, put together from shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.answerable import answerable_block
from helpers.events import write_events
from torch import nn

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.tasks import build_task, task_names
from panoptag_pyg.training.step_loss import NORMS, reach_all, step_loss, with_step_norms

OPTIONS = {
    "several": {"flavour": {"task": "flavour"}, "pt": {"task": "jet_pt", "weight": 0.3}, "masked_pfos": {}},
    "process": {"classes": ["ttbar", "ZH"]},
    "label": {"column": "jet/flavour", "classes": [0, [1, 2]]},
}


@pytest.mark.parametrize("name", task_names())
def test_norms_are_known_before_the_model_has_answered(rng, tmp_path, name):
    block = answerable_block(rng, 31)
    block.event["weight"] = rng.normal(1, 1, 31).astype(np.float32)
    task = build_task(name, **OPTIONS.get(name, {}))
    path = write_events(tmp_path / "events.h5", block, ("ttbar", "ZH"))
    dataset = EventDataset(path, fields=task.needs, processes=task.processes)
    task.fit(dataset)
    for batch in EventLoader(dataset, batch_size=13):
        batch = task.prepare(batch)
        norms = task.loss_norms(batch)
        output = task.blank(batch)
        random = {k: torch.randn_like(v) for k, v in output.items()} if isinstance(output, dict) else output.normal_()
        parts = task.loss_parts(task.sums(random, batch))
        assert norms.dtype == torch.float64
        # Summed in float32 beside the loss, maybe in another order: the last digit may differ.
        torch.testing.assert_close(norms, torch.stack([norm.double() for _, _, norm in parts]), rtol=2e-6, atol=0)
        assert len(parts) == len(task.parts())


def test_shares_add_up_to_the_loss_of_all(rng):
    numbers = torch.from_numpy(rng.normal(size=(4, 2)))
    norms = torch.from_numpy(rng.uniform(0, 3, (4, 2)))
    norms[:, 1] = 0  # nothing is labelled: adds nothing
    numbers[:, 1] = 0
    weights = (2.0, 0.5)
    total = norms.sum(0)
    shares = [
        step_loss([(w, n, d) for w, n, d in zip(weights, numbers[i], norms[i], strict=True)], total, 3)
        for i in range(4)
    ]
    assert sum(shares).item() == pytest.approx(3 * 2.0 * (numbers[:, 0].sum() / total[0]).item())


@pytest.mark.parametrize("number", [1, 2, 3, 7, 9])
def test_batches_know_the_norms_of_their_step(number):
    read = []

    def batches():
        for i in range(7):
            read.append(i)
            yield {"value": torch.tensor([float(i)])}

    for i, batch in enumerate(with_step_norms(batches(), number, lambda batch: batch["value"])):
        first = i - i % number
        group = range(first, min(first + number, 7))
        assert batch[NORMS].tolist() == [sum(group)]
        assert read[-1] == group[-1]  # not further ahead than needed
    assert i == 6


def test_every_parameter_is_reached_and_no_gradient_changes():
    module = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 2)})
    reached = []
    for name, parameter in module.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: reached.append(name))
    reach_all(module["used"](torch.ones(4, 3)).square().sum(), module).backward()
    reference = nn.Linear(3, 2)
    reference.load_state_dict(module["used"].state_dict())
    reference(torch.ones(4, 3)).square().sum().backward()
    assert torch.equal(module["used"].weight.grad, reference.weight.grad)
    assert module["unused"].weight.grad is None
    assert {"used.weight", "used.bias"} <= set(reached)
