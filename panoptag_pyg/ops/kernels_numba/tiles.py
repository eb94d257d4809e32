"""Register tiles: the inner loops of matrix products, written as vector instructions that LLVM keeps in registers.

A tile of ``ROWS`` × ``COLUMNS`` results lives in vector registers while the common dimension runs by: for each step one
load per vector of the right operand, one broadcast per row of the left one, and ``ROWS`` × vectors multiply-adds. Loops
in Numba alone reach a tenth of that, as LLVM does not block for registers by itself. Pointers are addresses in
bytes (``array.ctypes.data``), leading dimensions count elements.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _shape() -> tuple[int, int, int]:
    """Rows of a tile, vectors per row and floats per vector that fill this processor's registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 12, 2, 16  # 24 of 32 registers hold results
    if features.get("avx"):
        return 6, 2, 8  # 12 of 16
    return 8, 2, 4  # NEON: 16 of 32; SSE spills a little


ROWS, VECTORS, LANES = _shape()
COLUMNS = VECTORS * LANES
#: The processor multiplies pairs of bfloat16 and adds in float32.
BFLOAT16 = bool(llvm.get_host_cpu_features().get("avx512bf16"))

_float = ir.FloatType()
_int32 = ir.IntType(32)
_int64 = ir.IntType(64)


def _number(value: int) -> ir.Constant:
    return ir.Constant(_int64, value)


class _Emitter:
    """Vector instructions at addresses, on top of llvmlite's builder."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.vector = ir.VectorType(_float, lanes)
        signature = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fma.v{lanes}f32")

    def offset(self, address: Any, stride: Any, count: int) -> Any:
        return self.builder.add(address, self.builder.mul(stride, _number(count)))

    def load(self, address: Any, kind: Any = None, align: int = 4) -> Any:
        pointer = self.builder.inttoptr(address, (self.vector if kind is None else kind).as_pointer())
        value = self.builder.load(pointer)
        value.align = align
        return value

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, self.vector.as_pointer())).align = 4

    def broadcast(self, scalar: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(_int32, self.lanes), [ir.Constant(_int32, 0)] * self.lanes)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_int32, 0))
        return self.builder.shuffle_vector(first, undefined, zeros)

    def multiply_add(self, a: Any, b: Any, total: Any) -> Any:
        return self.builder.call(self._fma, [a, b, total])

    def tile_from(self, address: Any, stride: Any, rows: int, vectors: int) -> list[tuple[Any, Any]]:
        """What the sums of a tile start from, for :meth:`loop`."""
        return [
            (self.vector, self.load(self.builder.add(self.offset(address, stride, i), _number(4 * self.lanes * j))))
            for i in range(rows)
            for j in range(vectors)
        ]

    def store_tile(self, values: list[Any], address: Any, stride: Any, rows: int, vectors: int) -> None:
        for i in range(rows):
            for j in range(vectors):
                target = self.builder.add(self.offset(address, stride, i), _number(4 * self.lanes * j))
                self.store(values[i * vectors + j], target)

    def loop(self, steps: Any, carried: list[tuple[Any, Any]], body: Any) -> list[Any]:
        """``for step in range(steps)`` with at least one step; ``body(values) → values`` of those carried along."""
        builder = self.builder
        before = builder.block
        start, after = builder.append_basic_block("tile"), builder.append_basic_block("tile_done")
        builder.branch(start)
        builder.position_at_end(start)
        step = builder.phi(_int64)
        values = [builder.phi(kind) for kind, _ in carried]
        step.add_incoming(_number(0), before)
        for value, (_, first) in zip(values, carried, strict=True):
            value.add_incoming(first, before)
        results = body(values)
        following = builder.add(step, _number(1))
        step.add_incoming(following, start)
        for value, result in zip(values, results, strict=True):
            value.add_incoming(result, start)
        builder.cbranch(builder.icmp_signed("<", following, steps), start, after)
        builder.position_at_end(after)
        return results


def make_product_tile(rows: int, vectors: int, lanes: int, transposed: bool) -> Any:
    """An intrinsic ``tile(a, lda, b, ldb, start, lds, c, ldc, depth)`` for ``C[rows, vectors·lanes] = S + A · B``.

    S is what the sums start from: a bias (``lds`` = 0), or C itself.

    Args:
        rows: rows of C.
        vectors: vectors per row of C.
        lanes: floats per vector.
        transposed: A is kept as [depth, rows] instead of [rows, depth].
    """

    @intrinsic
    def tile(
        typingctx: Any, a: Any, lda: Any, b: Any, ldb: Any, start: Any, lds: Any, c: Any, ldc: Any, depth: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, lda, b, ldb, start, lds, c, ldc, depth = arguments
            emit = _Emitter(builder, lanes)
            lda, ldb, lds, ldc = (builder.mul(stride, _number(4)) for stride in (lda, ldb, lds, ldc))
            step_a = lda if transposed else _number(4)

            def body(values: list[Any]) -> list[Any]:
                at, bt, *totals = values
                right = [emit.load(builder.add(bt, _number(4 * lanes * j))) for j in range(vectors)]
                sums = []
                for i in range(rows):
                    address = builder.add(at, _number(4 * i)) if transposed else emit.offset(at, lda, i)
                    left = emit.broadcast(emit.load(address, _float))
                    for j in range(vectors):
                        sums.append(emit.multiply_add(left, right[j], totals[i * vectors + j]))
                return [builder.add(at, step_a), builder.add(bt, ldb), *sums]

            carried = [(_int64, a), (_int64, b), *emit.tile_from(start, lds, rows, vectors)]
            sums = emit.loop(depth, carried, body)[2:]
            emit.store_tile(sums, c, ldc, rows, vectors)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), generate

    return tile


def make_combination(vectors: int, lanes: int) -> Any:
    r"""An intrinsic ``combine(weight, row, count, b, ldb, c)`` for :math:`c \mathrel{+}= \sum_t w_t B_{r_t}`.

    ``vectors · lanes`` columns of rows of B, picked by int32 numbers, added with float32 weights; ``count`` ≥ 1.

    Args:
        vectors: vectors of C.
        lanes: floats per vector.
    """

    @intrinsic
    def combine(typingctx: Any, weight: Any, row: Any, count: Any, b: Any, ldb: Any, c: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            weight, row, count, b, ldb, c = arguments
            emit = _Emitter(builder, lanes)
            ldb = builder.mul(ldb, _number(4))

            def body(values: list[Any]) -> list[Any]:
                wt, rt, *totals = values
                number = builder.sext(emit.load(rt, _int32), _int64)
                address = builder.add(b, builder.mul(number, ldb))
                left = emit.broadcast(emit.load(wt, _float))
                sums = [
                    emit.multiply_add(left, emit.load(builder.add(address, _number(4 * lanes * j))), totals[j])
                    for j in range(vectors)
                ]
                return [builder.add(wt, _number(4)), builder.add(rt, _number(4)), *sums]

            first = [emit.load(builder.add(c, _number(4 * lanes * j))) for j in range(vectors)]
            carried = [(_int64, weight), (_int64, row), *[(emit.vector, value) for value in first]]
            for j, value in enumerate(emit.loop(count, carried, body)[2:]):
                emit.store(value, builder.add(c, _number(4 * lanes * j)))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), generate

    return combine


class _Bfloat(ir.Type):
    """LLVM's bfloat, which llvmlite doesn't name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


def make_bfloat16_tile(rows: int, vectors: int) -> Any:
    """As :func:`make_product_tile` for bfloat16 A and B and float32 C, on AVX-512 with its bfloat16 extension.

    A is [rows, 2·depth]; B is packed as [depth, columns, 2]: pairs of neighbouring steps side by side. Leading
    dimensions of A and B count pairs.
    """
    lanes = 16

    @intrinsic
    def tile(
        typingctx: Any, a: Any, lda: Any, b: Any, ldb: Any, start: Any, lds: Any, c: Any, ldc: Any, depth: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, lda, b, ldb, start, lds, c, ldc, depth = arguments
            emit = _Emitter(builder, lanes)
            lda, ldb, lds, ldc = (builder.mul(stride, _number(4)) for stride in (lda, ldb, lds, ldc))
            pairs = ir.VectorType(_Bfloat(), 2 * lanes)
            whole = ir.VectorType(_int32, lanes)
            product = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(emit.vector, [emit.vector, pairs, pairs]),
                "llvm.x86.avx512bf16.dpbf16ps.512",
            )

            def body(values: list[Any]) -> list[Any]:
                at, bt, *totals = values
                right = [
                    builder.bitcast(emit.load(builder.add(bt, _number(4 * lanes * j)), whole), pairs)
                    for j in range(vectors)
                ]
                sums = []
                for i in range(rows):
                    left = builder.bitcast(emit.broadcast(emit.load(emit.offset(at, lda, i), _int32)), pairs)
                    for j in range(vectors):
                        sums.append(builder.call(product, [totals[i * vectors + j], left, right[j]]))
                return [builder.add(at, _number(4)), builder.add(bt, ldb), *sums]

            carried = [(_int64, a), (_int64, b), *emit.tile_from(start, lds, rows, vectors)]
            sums = emit.loop(depth, carried, body)[2:]
            emit.store_tile(sums, c, ldc, rows, vectors)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), generate

    return tile


product_tile = make_product_tile(ROWS, VECTORS, LANES, transposed=False)
transposed_tile = make_product_tile(ROWS, VECTORS, LANES, transposed=True)
combine_wide = make_combination(8, LANES)
combine_narrow = make_combination(VECTORS, LANES)
bfloat16_tile = make_bfloat16_tile(ROWS, VECTORS) if BFLOAT16 else None
