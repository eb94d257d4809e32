"""What the EdgeConv kernels do on the chip: first layer, normalisation and GELU, their derivatives, packed maxima."""

from panoptag_pyg.ops.kernels_triton.language import jit, tl

EPS = tl.constexpr(1e-5)  # of the layer normalisations


@jit
def first_layer(neighbour, centre, source, node, column, W: tl.constexpr):
    """Pre-activation of the first layer at given columns, float32 [rows, columns]: a gather and a sum."""
    real = (column < W)[None, :]
    other = tl.load(neighbour + source[:, None] * W + column[None, :], real, 0.0).to(tl.float32)
    return other + tl.load(centre + node[:, None] * W + column[None, :], real, 0.0).to(tl.float32)


@jit
def statistics(h, column, W: tl.constexpr):
    """Mean and 1 / deviation of each row's W real columns."""
    mean = tl.sum(h, 1) / W
    shifted = tl.where((column < W)[None, :], h - mean[:, None], 0.0)
    return mean, tl.rsqrt(tl.sum(shifted * shifted, 1) / W + EPS)


@jit
def scaled(normed, weight, bias, column, W: tl.constexpr):
    """What a layer normalisation gives, of what has mean 0 and deviation 1."""
    factor = tl.load(weight + column, column < W, 0.0).to(tl.float32)
    return normed * factor[None, :] + tl.load(bias + column, column < W, 0.0).to(tl.float32)[None, :]


@jit
def tail(x):
    r"""1 − Φ(|x|) and exp(−x² / 2): an exponential, a reciprocal and five products instead of twice that for erf.

    Abramowitz and Stegun 7.1.26: erf to 1.5e-7, about float32's own rounding.
    """
    absolute = tl.abs(x)
    density = tl.exp(-0.5 * x * x)
    t = 1.0 / (1.0 + 0.23164189 * absolute)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * series * density, density


@jit
def gelu(x):
    """x Φ(x)."""
    beyond, _ = tail(x)
    return tl.maximum(x, 0.0) - tl.abs(x) * beyond


@jit
def gelu_slope(x):
    """Φ(x) + x φ(x)."""
    beyond, density = tail(x)
    return tl.where(x > 0.0, 1.0 - beyond, beyond) + 0.3989422804014327 * x * density


@jit
def norm_gradient(grad, normed, weight, rstd, column, W: tl.constexpr):
    """Gradient of a layer normalisation's input from that of its output: [rows, columns]."""
    grad = grad * tl.load(weight + column, column < W, 0.0).to(tl.float32)[None, :]
    mean = tl.sum(grad, 1) / W
    along = tl.sum(grad * normed, 1) / W
    grad = (grad - mean[:, None] - normed * along[:, None]) * rstd[:, None]
    return tl.where((column < W)[None, :], grad, 0.0)


@jit
def largest_of_groups(h, slot, GROUP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Largest entry of each group of rows, and the lowest slot that has it: two [ROWS / GROUP, COLUMNS].

    One reduction of integers that hold the value, its order kept, over the slots counted backwards.
    """
    if h.dtype == tl.float32:
        bits = h.to(tl.int32, bitcast=True)
        ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
        packed = (ordered << 32) | (0xFFFFFFFF - slot.to(tl.int64))[:, None]
        packed = tl.max(tl.reshape(packed, [ROWS // GROUP, GROUP, COLUMNS]), 1)
        ordered = (packed >> 32).to(tl.int32)
        value = tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).to(tl.float32, bitcast=True)
        return value, (0xFFFFFFFF - (packed & 0xFFFFFFFF)).to(tl.int32)
    else:
        bits = h.to(tl.int16, bitcast=True).to(tl.int32)
        ordered = tl.where(bits < 0, bits ^ 0x7FFF, bits)
        packed = (ordered << 16) | (0xFFFF - slot.to(tl.int32))[:, None]
        packed = tl.max(tl.reshape(packed, [ROWS // GROUP, GROUP, COLUMNS]), 1)
        ordered = packed >> 16
        bits = tl.where(ordered < 0, ordered ^ 0x7FFF, ordered)
        return bits.to(tl.int16).to(h.dtype, bitcast=True), 0xFFFF - (packed & 0xFFFF)
