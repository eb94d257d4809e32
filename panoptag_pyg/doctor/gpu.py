"""Is there a GPU, and can torch use it?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

#: Seconds that nvidia-smi may take: on a machine whose driver hangs it never answers.
PATIENCE = 20


def gpu() -> Iterator[Finding]:
    """GPUs that torch sees; where it sees none, whether the machine has one all the same."""
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield _device(number)
        return
    if torch.backends.mps.is_available():
        yield Finding("gpu", OK, "Apple's GPU: --device mps", values={"mps": True})
        return
    seen = seen_by_driver()
    values = {"driver": seen, "cuda": torch.version.cuda, "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}
    if seen and torch.version.cuda is None:
        advice = "pip install torch from PyPI (Linux), or as https://pytorch.org/get-started says for your CUDA."
        text = f"the driver sees {', '.join(seen)}, but this torch is a CPU build"
        yield Finding("gpu", PROBLEM, text, advice, values)
    elif seen:
        hidden = values["visible"] is not None
        advice = (
            "CUDA_VISIBLE_DEVICES hides it: unset it." if hidden else
            "The driver may be older than this torch needs: python -c 'import torch; torch.cuda.init()' says why."
        )  # fmt: skip
        yield Finding("gpu", PROBLEM, f"the driver sees {', '.join(seen)}, but torch does not", advice, values)
    elif torch.version.cuda is not None:
        advice = (
            "On a login node that is usual. Without a GPU anywhere, the CPU build of torch is smaller by gigabytes."
        )
        yield Finding("gpu", NOTE, "torch is a CUDA build, and no GPU is seen here", advice, values)
    else:
        yield Finding("gpu", OK, "no GPU; everything runs on the CPU", values=values)


def _device(number: int) -> Finding:
    """One GPU, and a product on it."""
    import torch

    about = torch.cuda.get_device_properties(number)
    capability = f"{about.major}.{about.minor}"
    values = {"name": about.name, "bytes": about.total_memory, "capability": capability, "cuda": torch.version.cuda}
    text = f"cuda:{number}: {about.name}, {about.total_memory / 2**30:.0f} GiB, compute capability {capability}"
    try:
        free, _ = torch.cuda.mem_get_info(number)
        ones = torch.ones(64, 64, device=f"cuda:{number}")
        if float((ones @ ones).sum()) != 64.0**3:
            raise RuntimeError("a product of ones came out wrong")
    except RuntimeError as error:
        advice = "This torch may not be built for this GPU: see https://pytorch.org/get-started."
        return Finding("gpu", PROBLEM, f"{text}: {str(error).splitlines()[0]}", advice, values)
    values["free_bytes"] = free
    if free < 0.5 * about.total_memory:
        return Finding(
            "gpu", NOTE, f"{text}; only {free / 2**30:.1f} GiB are free", "Others use it: nvidia-smi", values
        )
    return Finding("gpu", OK, text, values=values)


def seen_by_driver() -> list[str]:
    """Names of NVIDIA's GPUs as ``nvidia-smi -L`` tells them; none where it is missing or doesn't answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        done = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [line.partition(": ")[2].partition(" (UUID")[0] for line in lines if line.startswith("GPU ")]
