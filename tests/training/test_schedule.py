"""The schedule against its formula and against torch's own schedulers."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR

from panoptag_pyg.training.schedule import WarmupCosineRestarts, learning_rate


def rates(scheduler, optimizer, steps):
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def adamw(lr):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(("warmup", "restart"), [(0, 13), (1, 7), (11, 31), (17, 1)])
def test_matches_torchs_schedulers_in_sequence(warmup, restart):
    peak, start, floor, steps = 2e-4, 1e-6, 1e-7, 120
    optimizer = adamw(peak)
    ours = rates(
        WarmupCosineRestarts(optimizer, peak=peak, start=start, floor=floor, warmup_steps=warmup, cosine_steps=restart),
        optimizer,
        steps,
    )
    optimizer = adamw(peak)
    cosine = CosineAnnealingWarmRestarts(optimizer, T_0=restart, eta_min=floor)
    theirs = cosine
    if warmup:
        linear = LinearLR(optimizer, start_factor=start / peak, total_iters=warmup)
        theirs = SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
    assert ours == pytest.approx(rates(theirs, optimizer, steps), rel=1e-9)


def test_the_papers_schedule_at_its_landmarks():
    steps = 4395  # steps of one epoch at 2,250,000 events and 512 per batch
    options = {"peak": 2e-4, "start": 1e-6, "floor": 0.0, "warmup_steps": steps, "cosine_steps": 15 * steps}
    assert learning_rate(0, **options) == 1e-6
    assert learning_rate(steps // 2, **options) == pytest.approx((1e-6 + 2e-4) / 2, rel=1e-3)
    assert learning_rate(steps, **options) == 2e-4
    assert learning_rate(steps + 15 * steps // 3, **options) == pytest.approx(2e-4 * (1 + math.cos(math.pi / 3)) / 2)
    assert learning_rate(16 * steps - 1, **options) < 1e-11
    assert learning_rate(16 * steps, **options) == 2e-4


def test_state_loads_as_weights_only_and_goes_on(tmp_path):
    options = {"peak": 1.0, "start": 0.1, "warmup_steps": 3, "cosine_steps": 5}
    optimizer = adamw(1.0)
    scheduler = WarmupCosineRestarts(optimizer, **options)
    rates(scheduler, optimizer, 6)
    torch.save([optimizer.state_dict(), scheduler.state_dict()], tmp_path / "state.pt")
    expected = rates(scheduler, optimizer, 9)
    optimizer = adamw(1.0)
    scheduler = WarmupCosineRestarts(optimizer, **options)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    optimizer.load_state_dict(state[0])
    scheduler.load_state_dict(state[1])
    assert rates(scheduler, optimizer, 9) == expected


def test_without_restarts_the_rate_ends_at_the_floor():
    options = {"peak": 1.0, "start": 0.0, "floor": 0.1, "warmup_steps": 2, "cosine_steps": 4, "restart": False}
    assert [learning_rate(step, **options) for step in range(9)] == pytest.approx(
        [0, 0.5, 1, 0.1 + 0.45 * (1 + math.sqrt(0.5)), 0.55, 0.1 + 0.45 * (1 - math.sqrt(0.5)), 0.1, 0.1, 0.1]
    )
