"""Compile Triton kernels for a GPU that isn't there: what the interpreter lets pass, the compiler may not.

    python tests/helpers/compile_triton.py neighbours

Runs backends on CPU tensors with every launch replaced by a compilation for an H100, and prints for each kernel its
registers, spilled bytes and shared memory. Not under ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
}
SHARED_MEMORY = 232448  # what an H100 gives one program
seen: set[str] = set()


def compile_launch(kernel: Any, *args: Any, grid: Any, warmup: bool = False, **keywords: Any) -> None:
    """Stands in for ``JITFunction.run``."""
    options = {name: keywords.pop(name) for name in ("num_warps", "num_stages") if name in keywords}
    values = dict(zip(kernel.arg_names, args, strict=False)) | keywords
    signature, constants, attributes = {}, {}, {}
    for i, (name, parameter) in enumerate(zip(kernel.arg_names, kernel.params, strict=True)):
        value = values[name]
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    key = f"{kernel.__name__} {signature} {constants} {options}"
    if key in seen:
        return
    seen.add(key)
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.metadata.shared <= SHARED_MEMORY, f"{key}: {compiled.metadata.shared} bytes of shared memory"
    shown = {name: value for name, value in constants.items() if isinstance(value, int) and not isinstance(value, bool)}
    registers = _resources(compiled.asm["cubin"])
    products = sorted(set(re.findall(r"(wgmma\.mma_async\S*?\.m64\w+|mma\.sync\S*?\.m\d+\w+)", compiled.asm["ptx"])))
    print(
        f"{kernel.__name__:24s} {registers}, shared {compiled.metadata.shared}, {options} {shown} {products}",
        flush=True,
    )


def _resources(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    return f"registers {found[1]}, stack {found[2]}" if found else text


def neighbours() -> None:
    """Every shape of kernel that the kNN backend launches."""
    from panoptag_pyg.ops.kernels_triton.neighbours import neighbour_table

    ptr = torch.tensor([0, 100, 300])
    for dim, metric, loop in ((2, "wrapped_phi", False), (2, "euclidean", True), (256, "euclidean", False)):
        neighbour_table(torch.randn(300, dim), 20, ptr, metric, loop)
    neighbour_table(torch.randn(300, 2), 100, ptr, "wrapped_phi", False)


def edge_convolution() -> None:
    """The paper's layer in three dtypes, two narrower ones, forward and backward."""
    from panoptag_pyg.ops.kernels_triton import edge_convolution, edge_gradient

    for width, layers, k, dtype in (
        (256, 3, 20, torch.bfloat16),
        (256, 3, 20, torch.float32),
        (128, 3, 16, torch.bfloat16),
        (64, 2, 8, torch.float32),
    ):
        x, table = torch.randn(300, width, dtype=dtype), torch.randint(0, 300, (300, k))
        parameters = [torch.randn(width, 2 * width), torch.randn(width)]
        for _ in range(layers - 1):
            parameters += [torch.randn(*shape) for shape in ((width,), (width,), (width, width), (width,))]
        parameters = [parameter.to(dtype) for parameter in parameters]
        for training in (False, True):
            out, winner = edge_convolution.forward(x, table, parameters, training)
        edge_gradient.backward(out, x, table, parameters, winner)


def attention() -> None:
    """The paper's three kinds of attention, a wider head, and both sides long."""
    from panoptag_pyg.ops.kernels_triton import attention as module

    long, short, jets = (torch.tensor([0, *sizes]).cumsum(0) for sizes in ((200, 300), (48, 48), (5, 8)))
    for num_queries, q_ptr, k_ptr, dim, dtype in (
        (48, None, long, 8, torch.bfloat16),
        (500, long, short, 8, torch.bfloat16),
        (13, jets, long, 8, torch.bfloat16),
        (500, long, short, 8, torch.float32),
        (500, long, long, 12, torch.bfloat16),
        (500, long, long, 32, torch.float32),
    ):
        q = torch.randn(num_queries, 4, dim).to(dtype)
        k, v = torch.randn(int(k_ptr[-1]), 2, 4, dim).to(dtype).unbind(1)
        sizes = (None if q_ptr is None else int(q_ptr.diff().max()), int(k_ptr.diff().max()))
        out, log_sum = module.forward(q, k, v, q_ptr, k_ptr, *sizes)
        module.backward(torch.ones_like(out), q, k, v, out, log_sum, q_ptr, k_ptr, *sizes)


def main(names: list[str]) -> None:
    """Compile the backends of the given names, or all."""
    triton.JITFunction.run = compile_launch
    for name in names or ["neighbours", "edge_convolution", "attention"]:
        globals()[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
