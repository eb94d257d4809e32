"""Half precision on the CPU: losses summed in float32, gradients unscaled before clipping, weights in float32."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import load_tagger, train
from panoptag_pyg.training.checkpoint import build_model
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.module import TaggerModule

CLIP = 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flavour", {"label_smoothing": 0.1}),
        ("quark_gluon", {}),
        ("process", {"signal": ["ttH"]}),
        ("jet_pt", {}),
        ("jet_mass", {"loss": "quantile"}),
        ("pfo_pileup", {}),
        ("pfo_jet", {}),
    ],
)
def test_losses_are_summed_in_float32(tmp_path, rng, name, options, dtype):
    task = build_task(name, **options)
    block = random_block(rng, [300, 0, 41, 400], [30, 2, 0, 50])
    data = EventDataset(write_events(tmp_path / "x.h5", block), fields=task.needs, processes=task.processes)
    batch = data.get_batch(np.arange(4))
    if task.head.kind == "pfo_jet":
        jets, pfos = batch["jet"].ptr.diff(), batch["pfo"].ptr.diff()
        shape = (int((pfos * (jets + 1)).sum()),)
    else:
        rows = {"jet": len(batch["jet"].x), "pfo": len(batch["pfo"].x), "event": 4}[task.head.kind]
        shape = (rows, task.head.num_outputs)
    output = torch.from_numpy(rng.normal(0, 2, shape)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        total, norm = task.sums(output, batch)["loss"]
    exact, exact_norm = task.sums(output.detach().double(), batch)["loss"]
    assert total.dtype in (torch.float32, torch.float64)
    assert norm.dtype in (torch.float32, torch.float64)
    # Half precision's own error would be 1e-3 or 1e-2; a jet's terms may cancel, so the scale is that of the norm.
    assert abs(total.item() - exact.item()) <= 1e-4 * max(abs(exact.item()), exact_norm.item())
    assert norm.item() == pytest.approx(exact_norm.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(total, output)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


class FirstMoments(Callback):
    """Norm of AdamW's first moment after each step: after the first, a tenth of the gradient's that it was given."""

    def __init__(self):
        self.norms = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        (optimizer,) = trainer.optimizers
        moments = [state["exp_avg"].flatten() for state in optimizer.state.values()]
        self.norms.append(torch.cat(moments).norm().item())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gradients_are_unscaled_then_clipped(event_file, tmp_path, recipe, precision):
    """fp16 with a gradient scaler, as on a GPU; Lightning hands out none on the CPU, so it is given one."""
    chosen = recipe(f"train.precision={precision}", f"train.gradient_clip={CLIP}")
    data = TaggerData(chosen.data, event_file)
    torch.manual_seed(0)
    module = TaggerModule(build_model(chosen), build_task("flavour"), chosen, lambda: 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if precision == "16-mixed" else None
    arithmetic = {"plugins": [MixedPrecision(precision, "cpu", scaler)]} if scaler else {"precision": precision}
    moments = FirstMoments()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=1, limit_val_batches=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, callbacks=[moments],
        gradient_clip_val=CLIP, default_root_dir=tmp_path, **arithmetic,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert moments.norms == [pytest.approx(CLIP / 10, rel=1e-3)]
    # A fused optimiser unscales by itself, after the clipping: only without a scaler may it be one.
    assert bool(trainer.optimizers[0].param_groups[0]["fused"]) == (precision != "16-mixed")


def test_bf16_trains_as_float32_does(event_file, tmp_path, recipe):
    runs = {
        precision: train(
            recipe(f"train.precision={precision}", "train.gradient_clip=1.0"), event_file, tmp_path / precision
        )
        for precision in ("32-true", "bf16-mixed")
    }
    losses = [run.summary["best"]["val_loss"] for run in runs.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]
    model, _ = load_tagger(tmp_path / "bf16-mixed")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_fp16_on_the_cpu_is_refused_in_one_sentence(event_file, tmp_path, recipe):
    with pytest.raises(ConfigError, match=r"'16-mixed' needs a GPU; on the CPU set it to 'bf16-mixed'"):
        train(recipe("train.precision=16-mixed", "train.accelerator=cpu"), event_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()
