"""The gradient of a convolution as a convolution, and other transposes of windows."""

from __future__ import annotations

from math import prod

from minigrad.core.node import Node
from minigrad.ops.windows import positions
from minigrad.shapes import Shape

from .build import op, permuted, renamed, reshaped

__all__ = ["cut_convolution", "transposed_convolution"]


def cut_convolution(node: Node) -> Node:
    """Compute of the transpose of a convolution only what a slice keeps."""
    if node.primitive.name != "slice" or any(s != 1 for s in node.params["step"]):
        return node
    fold = node.inputs[0]
    if fold.primitive.name != "fold_windows" or fold.name is not None:
        return node
    return _convolved(node, fold, node.params["start"], node.params["stop"]) or node


def transposed_convolution(node: Node) -> Node:
    """Write the transpose of a convolution as a convolution of the padded cotangent.

    fold(windows of G W)  ->  windows(pad(G)) flip(W). Other folds of overlapping windows
    become sums of pads; those that do not overlap are read in place, once their shape is
    a multiple of the stride.
    """
    if node.primitive.name != "fold_windows":
        return node
    params, shape = node.params, node.aval.shape
    apart = all(
        s >= k and (d == 1 or k == 1)
        for s, k, d in zip(params["strides"], params["sizes"], params["dilations"], strict=True)
    )
    if not apart:
        return _convolved(node, node, (0,) * len(shape), shape) or _sum_of_pads(node)
    whole = list(shape)
    for a, s in zip(params["axes"], params["strides"], strict=True):
        whole[a] = -(-shape[a] // s) * s
    if tuple(whole) == shape:
        return node
    (g,) = node.inputs
    high = [0] * g.aval.ndim
    for a, k, s in zip(params["axes"], params["sizes"], params["strides"], strict=True):
        high[a] = positions(whole[a], k, s, 1) - g.aval.shape[a]
    if any(high):
        none = (0,) * g.aval.ndim
        g = op(node, "pad", g, low=none, high=tuple(high), inner=none, value=0)
    larger = op(node, "fold_windows", g, **{**params, "shape": tuple(whole)})
    start, step = (0,) * len(shape), (1,) * len(shape)
    return renamed(op(node, "slice", larger, start=start, stop=shape, step=step), node)


def _convolved(node: Node, fold: Node, start: Shape, stop: Shape) -> Node | None:
    params, (cotangent,) = fold.params, fold.inputs
    axes, n = params["axes"], len(params["axes"])
    if axes != tuple(range(2, 2 + n)) or cotangent.primitive.name != "permute_dims":
        return None
    if cotangent.params["axes"] != (0, n + 1, *range(1, n + 1), *range(n + 2, 2 * n + 2)):
        return None
    spread = cotangent.inputs[0]
    if spread.primitive.name != "reshape" or spread.inputs[0].primitive.name != "matmul":
        return None
    product = spread.inputs[0]
    rows, weights = product.inputs
    batch, *at = spread.aval.shape[: n + 1]
    channels, *kernel = spread.aval.shape[n + 1 :]
    out = rows.aval.shape[-1]
    wanted = (batch * prod(at), channels * prod(kernel))
    if product.aval.shape != wanted or (start[1], stop[1]) != (0, channels) or start[0]:
        return None
    low, high = [], []
    for i in range(n):
        reach = params["dilations"][i] * (kernel[i] - 1)
        span = (at[i] - 1) * params["strides"][i] + 1
        low.append(reach - start[2 + i])
        high.append(stop[2 + i] - span)
    if min(low + high) < 0 or stop[0] != batch:
        return None
    image = permuted(reshaped(rows, (batch, *at, out)), (0, n + 1, *range(1, n + 1)))
    gaps = [s - 1 for s in params["strides"]]
    padded = op(
        node, "pad", image, low=(0, 0, *low), high=(0, 0, *high), inner=(0, 0, *gaps), value=0.0
    )
    sizes = tuple(stop[2 + i] - start[2 + i] for i in range(n))
    found = op(
        node, "windows", padded, axes=axes, sizes=tuple(kernel), strides=(1,) * n,
        dilations=params["dilations"],
    )  # fmt: skip
    found = permuted(found, (0, *range(2, 2 + n), 1, *range(2 + n, 2 + 2 * n)))
    k = out * prod(kernel)
    kernels = reshaped(weights, (out, channels, *kernel))
    flipped = op(node, "flip", kernels, axes=tuple(range(2, 2 + n)))
    columns = reshaped(permuted(flipped, (0, *range(2, 2 + n), 1)), (k, channels))
    result = op(node, "matmul", reshaped(found, (batch * prod(sizes), k)), columns)
    image = reshaped(result, (batch, *sizes, channels))
    return renamed(permuted(image, (0, n + 1, *range(1, n + 1))), node)


def _sum_of_pads(node: Node) -> Node:
    """Add the windows back one element of the window at a time."""
    (g,), params = node.inputs, node.params
    n = len(params["sizes"])
    counts = g.aval.shape[: g.aval.ndim - n]
    total: Node | None = None
    for number in range(prod(params["sizes"])):
        rest = number
        offset: list[int] = []
        for k in reversed(params["sizes"]):
            rest, i = divmod(rest, k)
            offset.insert(0, i)
        start = (*(0,) * len(counts), *offset)
        stop = (*counts, *(i + 1 for i in offset))
        part = op(node, "slice", g, start=start, stop=stop, step=(1,) * g.aval.ndim)
        low, high = [0] * len(counts), [0] * len(counts)
        inner = [0] * len(counts)
        for i, a in enumerate(params["axes"]):
            s, d = params["strides"][i], params["dilations"][i]
            low[a], inner[a] = offset[i] * d, s - 1
            high[a] = node.aval.shape[a] - low[a] - (counts[a] - 1) * s - 1
        padded = op(
            node, "pad", reshaped(part, counts), low=tuple(low), high=tuple(high),
            inner=tuple(inner), value=0,
        )  # fmt: skip
        total = padded if total is None else op(node, "add", total, padded)
    assert total is not None
    return renamed(total, node)
