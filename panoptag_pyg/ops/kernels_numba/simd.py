"""Vectors of numbers for Numba kernels: values that the compiler keeps in registers, whatever loop is around them.

LLVM vectorises innermost loops only, and gives up on those that carry more than a few sums. A kernel that holds 16
queries and their results in registers while it walks over keys is written with these instead. They're LLVM's own
vector types, so any CPU runs them; one with AVX-512 does so in single instructions.

Numba's cache looks at the file of the kernel, not at this one: after a change here, touch the kernels' files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.extending import models, register_model

#: Typed loosely: Numba's own types don't know that it passes the context, and literals for numbers.
intrinsic: Any = extending.intrinsic


class Vector(types.Type):
    """``lanes`` floats or whole numbers side by side."""

    def __init__(self, scalar: Any, lanes: int) -> None:
        super().__init__(name=f"Vector({scalar}, {lanes})")
        self.scalar, self.lanes = scalar, lanes


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.scalar).get_value_type(), vector.lanes))


@intrinsic(prefer_literal=True)
def splat(typing_context, value, lanes):
    """The scalar ``value`` in each of ``lanes``; the number is a constant."""
    vector = Vector(value, lanes.literal_value)

    def generate(context, builder, signature, arguments):
        return _splat(builder, arguments[0], vector.lanes)

    return vector(value, lanes), generate


@intrinsic(prefer_literal=True)
def load(typing_context, array, offset, lanes):
    """``lanes`` elements of a contiguous 1-D array from ``offset`` on; the number is a constant."""
    vector = Vector(array.dtype, lanes.literal_value)

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        return _load(context, builder, vector, pointer)

    return vector(array, types.intp, lanes), generate


@intrinsic
def store(typing_context, array, offset, vector):
    """Write the lanes to a contiguous 1-D array from ``offset`` on; float32 to int16 as the nearest bfloat16's bits."""
    short = array.dtype == types.int16

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        value = _rounded(builder, arguments[2], vector.lanes) if short else arguments[2]
        target = builder.bitcast(pointer, value.type.as_pointer())
        builder.store(value, target, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def load_row(typing_context, columns, array, offset):
    """As many elements from ``offset`` on as the tuple ``columns`` has entries, as one vector.

    Of int16, the bits of bfloat16, it is one of float32.
    """
    kept = Vector(array.dtype, columns.count)
    short = array.dtype == types.int16
    vector = Vector(types.float32, columns.count) if short else kept

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[1], *arguments[1:])
        row = _load(context, builder, kept, pointer)
        if not short:
            return row
        whole = ir.VectorType(ir.IntType(32), kept.lanes)
        bits = builder.shl(builder.zext(row, whole), ir.Constant(whole, [ir.Constant(ir.IntType(32), 16)] * kept.lanes))
        return builder.bitcast(bits, ir.VectorType(ir.FloatType(), kept.lanes))

    return vector(columns, array, types.intp), generate


def _rounded(builder, value, lanes):
    """Bits of the nearest bfloat16, ties to even."""
    whole = ir.VectorType(ir.IntType(32), lanes)

    def constant(number):
        return ir.Constant(whole, [ir.Constant(ir.IntType(32), number)] * lanes)

    bits = builder.bitcast(value, whole)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    nearest = builder.lshr(builder.add(builder.add(bits, constant(0x7FFF)), odd), constant(16))
    return builder.trunc(nearest, ir.VectorType(ir.IntType(16), lanes))


@intrinsic
def splat_row(typing_context, columns, value):
    """The scalar ``value`` in as many lanes as the tuple ``columns`` has entries."""

    def generate(context, builder, signature, arguments):
        return _splat(builder, arguments[1], columns.count)

    return Vector(value, columns.count)(columns, value), generate


@intrinsic(prefer_literal=True)
def load_transposed(typing_context, columns, array, offset, lanes):
    """Rows [lanes, columns] that stand one after the other, from ``offset`` on: a vector for each column."""
    vector = Vector(array.dtype, lanes.literal_value)
    result = types.UniTuple(vector, columns.count)

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[1], *arguments[1:3])
        rows = _load(context, builder, Vector(array.dtype, vector.lanes * columns.count), pointer)
        return context.make_tuple(builder, result, _untangled(builder, rows, columns.count))

    return result(columns, array, types.intp, lanes), generate


@intrinsic
def store_transposed(typing_context, array, offset, vectors):
    """Write a vector for each column as rows [lanes, columns], one after the other."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        columns = [builder.extract_value(arguments[2], c) for c in range(vectors.count)]
        rows = _entangled(builder, columns)
        builder.store(rows, builder.bitcast(pointer, rows.type.as_pointer()), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vectors), generate


@intrinsic(prefer_literal=True)
def move_transposed(typing_context, source, offset, stride, target, target_offset, target_stride, factor, lanes):
    """A square of ``lanes`` rows and columns, transposed and times ``factor``, from one array to another."""
    vector = Vector(source.dtype, lanes.literal_value)

    def generate(context, builder, signature, arguments):
        values, offset, stride, target_values, target_offset, target_stride, factor, _ = arguments
        rows = []
        for _ in range(vector.lanes):
            pointer = _pointer(context, builder, signature.args[0], values, offset)
            rows.append(_load(context, builder, vector, pointer))
            offset = builder.add(offset, stride)
        together = _entangled(builder, rows)
        factor = _splat(builder, factor, vector.lanes)
        for i in range(vector.lanes):
            column = _chosen(builder, together, together, range(i * vector.lanes, (i + 1) * vector.lanes))
            pointer = _pointer(context, builder, signature.args[3], target_values, target_offset)
            place = builder.bitcast(pointer, column.type.as_pointer())
            builder.store(builder.fmul(column, factor), place, align=source.dtype.bitwidth // 8)
            target_offset = builder.add(target_offset, target_stride)
        return context.get_dummy_value()

    numbers = (types.intp, types.intp)
    return types.void(source, *numbers, target, *numbers, source.dtype, lanes), generate


@intrinsic
def sum_of_products(typing_context, first, second):
    """Σ_c first[c] · second[c], over two tuples of vectors."""

    def generate(context, builder, signature, arguments):
        total = None
        for c in range(first.count):
            a, b = (builder.extract_value(argument, c) for argument in arguments)
            total = builder.fmul(a, b) if total is None else _fma(builder, a, b, total)
        return total

    return first.dtype(first, second), generate


@intrinsic
def magnitudes(typing_context, vectors):
    """|vectors[c]| for each of the tuple's vectors."""

    def generate(context, builder, signature, arguments):
        columns = (builder.extract_value(arguments[0], c) for c in range(vectors.count))
        return context.make_tuple(builder, vectors, [_call(builder, "fabs", column) for column in columns])

    return vectors(vectors), generate


@intrinsic
def multiply_columns(typing_context, vectors, factor):
    """vectors[c] · factor for each of the tuple's vectors."""

    def generate(context, builder, signature, arguments):
        products = [builder.fmul(builder.extract_value(arguments[0], c), arguments[1]) for c in range(vectors.count)]
        return context.make_tuple(builder, vectors, products)

    return vectors(vectors, factor), generate


@intrinsic(prefer_literal=True)
def splat_columns(typing_context, columns, value, lanes):
    """One vector for each entry of the tuple ``columns``, all of the scalar ``value``."""
    result = types.UniTuple(Vector(value, lanes.literal_value), columns.count)

    def generate(context, builder, signature, arguments):
        vector = _splat(builder, arguments[1], lanes.literal_value)
        return context.make_tuple(builder, result, [vector] * columns.count)

    return result(columns, value, lanes), generate


@intrinsic
def dot(typing_context, vectors, array, offset):
    """Σ_c vectors[c] · array[offset + c], over the tuple's vectors."""
    vector = vectors.dtype

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[1], *arguments[1:])
        total = None
        for factor, scalar in zip(*_columns(builder, vectors, arguments[0], pointer), strict=True):
            total = builder.fmul(factor, scalar) if total is None else _fma(builder, factor, scalar, total)
        return total

    return vector(vectors, array, types.intp), generate


@intrinsic
def accumulate(typing_context, sums, weight, array, offset):
    """sums[c] + weight · array[offset + c] for each of the tuple's vectors."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[2], *arguments[2:])
        columns = zip(*_columns(builder, sums, arguments[0], pointer), strict=True)
        return context.make_tuple(builder, sums, [_fma(builder, arguments[1], scalar, s) for s, scalar in columns])

    return sums(sums, weight, array, types.intp), generate


@intrinsic
def add_where_less(typing_context, total, a, b):
    """total + 1 in lanes where a < b; all of whole numbers."""

    def generate(context, builder, signature, arguments):
        total_value, a_value, b_value = arguments
        less = builder.icmp_signed("<", a_value, b_value)
        return builder.sub(total_value, builder.sext(less, total_value.type))

    return total(total, a, b), generate


@intrinsic
def sum_of_lanes(typing_context, vector):
    """The lanes' sum, pair by pair."""

    def generate(context, builder, signature, arguments):
        plus = builder.fadd if isinstance(vector.scalar, types.Float) else builder.add
        return _by_pairs(builder, arguments[0], plus)

    return vector.scalar(vector), generate


def _elementwise(arity: int, generate_value: Callable[..., Any]) -> Any:
    def make(typing_context, *vectors):
        def generate(context, builder, signature, arguments):
            return generate_value(builder, *arguments)

        return vectors[0](*vectors), generate

    # An intrinsic's arguments are looked up by the function's signature.
    if arity == 1:
        return intrinsic(lambda typing_context, a: make(typing_context, a))
    if arity == 2:
        return intrinsic(lambda typing_context, a, b: make(typing_context, a, b))
    return intrinsic(lambda typing_context, a, b, c: make(typing_context, a, b, c))


def _larger(builder, a, b):
    # Keeps a NaN of the first; a NaN of the second is passed over.
    return builder.select(builder.fcmp_ordered("<", a, b), b, a)


def _smaller(builder, a, b):
    # A NaN gives b.
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _nearest_whole(builder, x):
    # Adding 1.5 · 2^(mantissa bits) leaves the nearest whole number in the last bits.
    form = _form(x)
    shift = form.constant(1.5 * 2.0**form.mantissa_bits)
    return builder.fsub(builder.fadd(x, shift), shift)


def _exp2(builder, x):
    """2^x for -126 ≤ x < 127 (-1022 in double): 2^n from the exponent's bits, times a polynomial of the rest."""
    form = _form(x)
    shifted = builder.fadd(x, form.constant(1.5 * 2.0**form.mantissa_bits))
    whole = builder.fsub(shifted, form.constant(1.5 * 2.0**form.mantissa_bits))
    value = form.polynomial(builder, builder.fsub(x, whole), _interpolate(np.exp2, form.exp_degree, -0.5, 0.5))
    exponent = builder.shl(builder.bitcast(shifted, form.bits), form.whole(form.mantissa_bits))
    return builder.bitcast(builder.add(builder.bitcast(value, form.bits), exponent), x.type)


def _log2(builder, x):
    r"""log2(x) of a normal x > 0: its exponent, and 2 atanh((m - 1) / (m + 1)) / ln 2 of m in [1/√2, √2)."""
    form = _form(x)
    root = int(np.asarray(math.sqrt(0.5), form.numpy).view(form.numpy_bits))
    bits = builder.sub(builder.bitcast(x, form.bits), form.whole(root))
    exponent = builder.ashr(bits, form.whole(form.mantissa_bits))
    mantissa = builder.sub(builder.bitcast(x, form.bits), builder.shl(exponent, form.whole(form.mantissa_bits)))
    mantissa = builder.bitcast(mantissa, x.type)
    one = form.constant(1.0)
    ratio = builder.fdiv(builder.fsub(mantissa, one), builder.fadd(mantissa, one))
    squared = builder.fmul(ratio, ratio)

    def series(z):
        return 2 / math.log(2) * np.arctanh(np.sqrt(z)) / np.sqrt(z)

    value = form.polynomial(builder, squared, _interpolate(series, form.log_degree, 1e-12, 0.0295))
    return _fma(builder, ratio, value, builder.sitofp(exponent, x.type))


add = _elementwise(2, lambda builder, a, b: builder.fadd(a, b))
subtract = _elementwise(2, lambda builder, a, b: builder.fsub(a, b))
multiply = _elementwise(2, lambda builder, a, b: builder.fmul(a, b))
divide = _elementwise(2, lambda builder, a, b: builder.fdiv(a, b))
multiply_add = _elementwise(3, lambda builder, a, b, c: _fma(builder, a, b, c))
larger = _elementwise(2, _larger)
smaller = _elementwise(2, _smaller)
nearest_whole = _elementwise(1, _nearest_whole)
exp2 = _elementwise(1, _exp2)
log2 = _elementwise(1, _log2)


@intrinsic
def absolute(typing_context, vector):
    """|x| of each lane."""

    def generate(context, builder, signature, arguments):
        return _call(builder, "fabs", *arguments)

    return vector(vector), generate


@intrinsic
def largest(typing_context, vector):
    """The largest of the lanes; lanes that are NaN may be passed over."""

    def generate(context, builder, signature, arguments):
        return _by_pairs(builder, arguments[0], lambda a, b: _larger(builder, a, b))

    return vector.scalar(vector), generate


class _form:
    """Numbers of a vector's floating-point format."""

    def __init__(self, value: Any) -> None:
        self.type, lanes = value.type, value.type.count
        double = isinstance(value.type.element, ir.DoubleType)
        self.numpy: Any = np.float64 if double else np.float32
        self.numpy_bits: Any = np.int64 if double else np.int32
        self.mantissa_bits, self.exp_degree, self.log_degree = (52, 11, 9) if double else (23, 6, 4)
        self.bits = ir.VectorType(ir.IntType(64 if double else 32), lanes)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [ir.Constant(self.type.element, float(self.numpy(value)))] * self.type.count)

    def whole(self, value: int) -> Any:
        return ir.Constant(self.bits, [ir.Constant(self.bits.element, value)] * self.bits.count)

    def polynomial(self, builder: Any, x: Any, coefficients: list[float]) -> Any:
        total = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = _fma(builder, total, x, self.constant(coefficient))
        return total


def _interpolate(function: Callable[..., Any], degree: int, low: float, high: float) -> list[float]:
    """Coefficients, constant first, of a polynomial within a few ulp of the best."""
    chebyshev = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return list(chebyshev.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef)


def _untangled(builder: Any, rows: Any, num_columns: int) -> list[Any]:
    """Columns of rows that stand one after the other: by halves, as processors shuffle two vectors at a time."""
    if num_columns == 1:
        return [rows]
    if num_columns % 2:
        return [_chosen(builder, rows, rows, range(c, rows.type.count, num_columns)) for c in range(num_columns)]
    even, odd = (_chosen(builder, rows, rows, range(first, rows.type.count, 2)) for first in (0, 1))
    halves = zip(*(_untangled(builder, half, num_columns // 2) for half in (even, odd)), strict=True)
    return [column for pair in halves for column in pair]


def _entangled(builder: Any, columns: list[Any]) -> Any:
    """The reverse: rows, one after the other."""
    if len(columns) == 1:
        return columns[0]
    count = columns[0].type.count
    if len(columns) % 2:
        rows = columns[0]
        for number, column in enumerate(columns[1:], 1):
            # Old rows have `number` columns; positions from rows' end on are the new column's.
            padded = _chosen(builder, column, column, [*range(count), *[0] * (rows.type.count - count)])
            order = [
                row * number + c if c < number else rows.type.count + row
                for row in range(count)
                for c in range(number + 1)
            ]
            rows = _chosen(builder, rows, padded, order)
        return rows
    even, odd = _entangled(builder, columns[::2]), _entangled(builder, columns[1::2])
    size = even.type.count
    return _chosen(builder, even, odd, [i // 2 + size * (i % 2) for i in range(2 * size)])


def _chosen(builder: Any, first: Any, second: Any, lanes: Iterable[int]) -> Any:
    lanes = list(lanes)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(first, second, mask)


def _by_pairs(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """One scalar from all lanes: the two halves combined, again and again."""
    while (lanes := vector.type.count) > 1:
        half = lanes // 2
        low, high = (_chosen(builder, vector, vector, range(first, first + half)) for first in (0, half))
        vector = combine(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "fma", a, b, c)


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """LLVM's intrinsic of this name for vectors, such as llvm.fma.v16f32."""
    vector = arguments[0].type
    full_name = f"llvm.{name}.v{vector.count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}"
    function_type = ir.FunctionType(vector, [vector] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), arguments)


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    if array_type.ndim != 1 or array_type.layout != "C":
        raise TypeError("vectors are loaded from contiguous 1-D arrays")
    data = context.make_array(array_type)(context, builder, value=array).data
    return cgutils.gep_inbounds(builder, data, offset)


def _load(context: Any, builder: Any, vector: Vector, pointer: Any) -> Any:
    source = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
    return builder.load(source, align=vector.scalar.bitwidth // 8)


def _columns(builder: Any, vectors: Any, value: Any, pointer: Any) -> tuple[list[Any], list[Any]]:
    """A tuple's vectors, and the scalars that stand side by side at ``pointer``, as vectors."""
    factors = [builder.extract_value(value, c) for c in range(vectors.count)]
    scalars = []
    for c in range(vectors.count):
        scalar = builder.load(cgutils.gep_inbounds(builder, pointer, ir.Constant(ir.IntType(64), c)))
        scalars.append(_splat(builder, scalar, vectors.dtype.lanes))
    return factors, scalars
