"""Functions in, functions out: gradients, products, Jacobians, Hessians, batches.

All of them run the function on tensors and transform what was recorded, so they work
alike at the prompt (where ``if`` on a value is fine), while tracing, and on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from minigrad.core.apply import apply
from minigrad.core.aval import aval
from minigrad.core.door import as_tensor, cast, is_number
from minigrad.core.node import Node
from minigrad.core.tape import placeholder, recorder
from minigrad.core.tensor import Tensor
from minigrad.errors import ShapeError, TraceError
from minigrad.ops.creation import eye
from minigrad.ops.structural import moveaxis, reshape, reshape_p
from minigrad.shapes import axis_of
from minigrad.transform import batch, check_differentiable, pullback, pushforward, seed
from minigrad.trees import Tree, flatten, map_leaves

from .tracing import is_array, names_of, output_nodes

__all__ = [
    "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp", "vmap",
]  # fmt: skip

Function = Callable[..., Any]


@contextmanager
def transforming() -> Iterator[None]:
    """Record inside, even under ``no_grad``; results then carry no gradient outside."""
    before = recorder.recording
    recorder.recording = True
    recorder.transforming += 1
    try:
        yield
    finally:
        recorder.recording = before
        recorder.transforming -= 1


def _alias(x: Any, name: str, what: str) -> Tensor:
    """Return a fresh tensor equal to x: differentiating by it sees only its own uses."""
    t = as_tensor(x)
    check_differentiable(t.node, f"{what}: argument {name}")
    if not isinstance(x, Tensor):
        return Tensor(_named(t.node, name))
    return apply(reshape_p, (t,), {"shape": t.shape})


def _named(node: Node, name: str) -> Node:
    leaf = placeholder(node.aval, name)
    leaf.value = node.value
    return leaf


def _opened(
    f: Function, args: Sequence[Any], argnums: int | Sequence[int], what: str
) -> tuple[list[Any], list[Tensor], list[Tree]]:
    """Return the arguments with aliases in place of what is differentiated, and these."""
    numbers = _numbers(argnums, len(args), what)
    parts = {n: flatten(args[n]) for n in numbers}
    names = names_of(f, [flatten(a)[1] for a in args])
    new, aliases, trees = list(args), [], []
    for n in numbers:
        leaves, tree = parts[n]
        mine = [_alias(x, name, what) for x, name in zip(leaves, names[n], strict=True)]
        new[n] = tree.build(mine)
        aliases += mine
        trees.append(tree)
    return new, aliases, trees


def _numbers(argnums: int | Sequence[int], count: int, what: str) -> list[int]:
    """Return which arguments are meant, counted from the front, each once."""
    given = [argnums] if isinstance(argnums, int) else list(argnums)
    if any(not -count <= n < count for n in given):
        raise ShapeError(
            f"{what}: argnums {argnums} for {count} positional arguments",
            fix="count the arguments from 0, and pass by position what is differentiated by",
        )
    found = [n % count for n in given]
    if len(set(found)) != len(found):
        raise ShapeError(
            f"{what}: argnums {argnums} names an argument twice", fix="name each argument once"
        )
    return found


def _closed(results: Sequence[Any], trees: Sequence[Tree], single: bool) -> Any:
    """Return results nested as the arguments they belong to."""
    parts, rest = [], list(results)
    for tree in trees:
        parts.append(tree.build(rest[: tree.size]))
        rest = rest[tree.size :]
    return parts[0] if single else tuple(parts)


def _plain(results: Sequence[Tensor]) -> list[Tensor]:
    """Return the results; under ``no_grad`` without their history."""
    return list(results) if recorder.recording else [r.detach() for r in results]


def _plain_tree(out: Any) -> Any:
    """Return what a function returned; under ``no_grad`` tensors in it without their history."""
    if recorder.recording:
        return out
    return map_leaves(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, out)


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """Return a function that returns the value of ``f`` and its gradient.

    Parameters
    ----------
    f
        Returns a scalar tensor, or ``(scalar, anything)`` with ``has_aux``.
    argnums
        Which arguments to differentiate by: one number gives one gradient, several a
        tuple. A gradient nests as its argument does.
    has_aux
        Whether ``f`` returns something besides the scalar; it is passed through.

    Raises
    ------
    ShapeError
        If the result is not a scalar.
    NotDifferentiable
        If an argument, or the result, is not floating.
    """

    @wraps(f)
    def value_and_grad_f(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        with transforming():
            new, aliases, trees = _opened(f, args, argnums, "grad")
            out = f(*new, **kwargs)
            loss, aux = _with_aux(out) if has_aux else (out, None)
            loss = _scalar_result(loss, "grad")
            start = seed(loss.node, None, "grad")
            gradients = pullback([loss.node], [start], [a.node for a in aliases])
        nested = _closed(_plain(gradients), trees, isinstance(argnums, int))
        return _plain_tree((loss, aux) if has_aux else loss), nested

    return value_and_grad_f


def _with_aux(out: Any) -> Any:
    if isinstance(out, tuple) and len(out) == 2:
        return out
    raise TraceError(
        f"grad: with has_aux=True the function returned a {type(out).__name__}",
        rule="a pair: the scalar to differentiate, and anything else",
        fix="return (loss, aux), or leave out has_aux",
    )


def _scalar_result(loss: Any, what: str) -> Tensor:
    """Return what a function to be differentiated returned, as a tensor."""
    if isinstance(loss, Tensor) or is_number(loss) or is_array(loss):
        return as_tensor(loss)
    kind = type(loss).__name__
    raise TraceError(
        f"{what}: the function returned a {kind}",
        rule="a function to be differentiated returns one scalar tensor",
        fix="pass has_aux=True to return more than the loss"
        if isinstance(loss, tuple)
        else "return the loss"
        if loss is None
        else "return a tensor",
    )


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return a function that returns the gradient of ``f``; see ``value_and_grad``.

    With ``has_aux`` it returns ``(gradient, aux)``.
    """
    both = value_and_grad(f, argnums, has_aux)

    @wraps(f)
    def grad_f(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return grad_f


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Return ``f(*primals)`` and its pullback, from cotangents of the result to a tuple.

    The pullback may be called any number of times.
    """
    with transforming():
        new, aliases, trees = _opened(f, primals, range(len(primals)), "vjp")
        out = f(*new)
    nodes, out_tree = output_nodes(out, "vjp")

    def pullback_f(cotangent: Any) -> Any:
        leaves, tree = flatten(cotangent)
        if tree != out_tree:
            raise ShapeError(
                f"vjp: {out_tree.size} cotangents are needed, nested as the result",
                fix="nest the cotangents as the function's result",
            )
        with transforming():
            pairs = [
                (n, seed(n, as_tensor(c, n.aval.dtype), "vjp"))
                for n, c in zip(nodes, leaves, strict=True)
                if n.aval.kind == "f"
            ]
            found = pullback(
                [n for n, _ in pairs], [c for _, c in pairs], [a.node for a in aliases]
            )
        return _closed(_plain(found), trees, single=False)

    return _plain_tree(out), pullback_f


def _as_arguments(primals: Any) -> tuple[Sequence[Any], bool]:
    """Return positional arguments, and whether a bare one was given instead of a tuple."""
    bare = not isinstance(primals, tuple | list)
    return ((primals,) if bare else primals), bare


def jvp(f: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Return ``f(*primals)`` and its directional derivative along ``tangents``.

    ``primals`` and ``tangents`` are tuples of equally nested arguments.
    """
    arguments, _ = _as_arguments(primals)
    directions, _ = _as_arguments(tangents)
    with transforming():
        new, aliases, _trees = _opened(f, arguments, range(len(arguments)), "jvp")
        out = f(*new)
        nodes, tree = output_nodes(out, "jvp")
        along = _directions(aliases, arguments, directions, "jvp")
        found = pushforward([a.node for a in aliases], along, nodes)
    return _plain_tree(out), tree.build(_plain(found))


def _directions(
    aliases: Sequence[Tensor], arguments: Sequence[Any], directions: Sequence[Any], what: str
) -> list[Tensor]:
    leaves, tree = flatten(list(directions))
    if tree != flatten(list(arguments))[1]:
        raise ShapeError(
            f"{what}: {len(aliases)} tangents are needed, got {len(leaves)}, or they are nested "
            "differently",
            fix="nest the tangents as the arguments, with the same keys in the same order",
        )
    found = []
    for alias, given, leaf in zip(aliases, flatten(list(arguments))[0], leaves, strict=True):
        t = as_tensor(leaf)
        if t.shape != alias.shape:
            argument = given if isinstance(given, Tensor) else alias
            raise ShapeError(
                f"{what}: a tangent has shape {t.shape}, its argument {alias.shape}",
                operands=[argument.node.describe(), t.node.describe()],
                fix="give every tangent the shape of its argument",
            )
        found.append(cast(t, alias.dtype))
    return found


def hvp(f: Function, primals: Any, tangents: Any) -> Any:
    """Return the product of the Hessian of a scalar function with ``tangents``.

    The Hessian is symmetric, so this is one more walk back along the gradient. The
    result nests as ``primals`` does.
    """
    arguments, bare = _as_arguments(primals)
    directions, _ = _as_arguments(tangents)
    with transforming():
        new, aliases, trees = _opened(f, arguments, range(len(arguments)), "hvp")
        loss = _scalar_result(f(*new), "hvp")
        nodes = [a.node for a in aliases]
        gradients = pullback([loss.node], [seed(loss.node, None, "hvp")], nodes)
        along = _directions(aliases, arguments, directions, "hvp")
        found = pullback([g.node for g in gradients], along, nodes)
    return _closed(_plain(found), trees, single=bare)


def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return a function that returns the Jacobian of ``f``.

    For a result of shape ``s`` and an argument of shape ``t`` it has shape ``(*s, *t)``.
    It is computed in one batch: of cotangents if the result is no larger than the
    arguments, of tangents otherwise.
    """

    @wraps(f)
    def jacobian_f(*args: Any, **kwargs: Any) -> Any:
        with transforming():
            new, aliases, trees = _opened(f, args, argnums, "jacobian")
            nodes, out_tree = output_nodes(f(*new, **kwargs), "jacobian")
            for node in nodes:
                check_differentiable(node, "jacobian")
            sources = [a.node for a in aliases]
            reverse = sum(n.aval.size for n in nodes) <= sum(n.aval.size for n in sources)
            by_rows = [_rows(n, sources) for n in nodes] if reverse else None
            by_columns = None if reverse else [_columns(s, nodes) for s in sources]
        parts = []
        for i in range(len(nodes)):
            row = by_rows[i] if by_rows is not None else [c[i] for c in by_columns or []]
            parts.append(_closed(_plain(row), trees, isinstance(argnums, int)))
        return out_tree.build(parts)

    return jacobian_f


def _basis(node: Node) -> tuple[Tensor, int]:
    n = node.aval.size
    return reshape(eye(n, dtype=node.aval.dtype), (n, *node.aval.shape)), n


def _rows(out: Node, sources: Sequence[Node]) -> list[Tensor]:
    """Return the Jacobians of one result by all sources: the pullback of every unit cotangent."""
    unit = placeholder(out.aval, "cotangent")
    back = pullback([out], [Tensor(unit)], sources)
    basis, n = _basis(out)
    batched = batch([unit], [basis], [b.node for b in back], n)
    return [
        reshape(b, (*out.aval.shape, *s.aval.shape)) for b, s in zip(batched, sources, strict=True)
    ]


def _columns(source: Node, outs: Sequence[Node]) -> list[Tensor]:
    """Return the Jacobians of all results by one source: the push of every unit tangent."""
    unit = placeholder(source.aval, "tangent")
    forward = pushforward([source], [Tensor(unit)], outs)
    basis, n = _basis(source)
    batched = batch([unit], [basis], [t.node for t in forward], n)
    return [
        reshape(moveaxis(b, 0, b.ndim - 1), (*o.aval.shape, *source.aval.shape))
        for b, o in zip(batched, outs, strict=True)
    ]


def hessian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return a function that returns the Hessian of a scalar function.

    For an argument of shape ``t`` it has shape ``(*t, *t)``; for several arguments, or
    a nested one, it is nested twice: ``h["w"]["b"]``.
    """
    return jacobian(grad(f, argnums), argnums)


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """Return a function that applies ``f`` to every element of a batch at once.

    Parameters
    ----------
    f
        Is traced once, on one element: it must not ask for values.
    in_axes
        Which axis of each argument is the batch; None for an argument that all elements
        share. One entry for all arguments, or a tuple with one for each.
    out_axes
        Where the batch axis goes in the results; one entry, or one for each result.

    Raises
    ------
    ShapeError
        If the batch sizes differ, or no argument has a batch.

    Random numbers drawn inside are the same for every element.
    """

    @wraps(f)
    def vmap_f(*args: Any) -> Any:
        per_argument = _per_item(in_axes, len(args), "in_axes")
        with transforming():
            new, inputs, values = [], [], []
            for arg, axis in zip(args, per_argument, strict=True):
                leaves, tree = flatten(arg)
                opened = []
                for leaf in leaves:
                    if axis is None:
                        opened.append(leaf)
                        continue
                    x = as_tensor(leaf)
                    x = moveaxis(x, axis_of(axis, x.ndim, "vmap"), 0)
                    inputs.append(placeholder(aval(x.shape[1:], x.dtype)))
                    values.append(x)
                    opened.append(Tensor(inputs[-1]))
                new.append(tree.build(opened))
            size = _batch_size(values)
            nodes, tree = output_nodes(f(*new), "vmap")
            found = batch(inputs, values, nodes, size)
        axes = _per_item(out_axes, len(found), "out_axes")
        moved = [moveaxis(y, 0, a) for y, a in zip(found, axes, strict=True)]
        return tree.build(_plain(moved))

    return vmap_f


def _per_item(axes: Any, n: int, what: str) -> list[Any]:
    if axes is None or isinstance(axes, int):
        return [axes] * n
    if len(axes) != n:
        raise ShapeError(
            f"vmap: {what} has {len(axes)} entries for {n}", fix="one for each, or one for all"
        )
    return list(axes)


def _batch_size(values: Sequence[Tensor]) -> int:
    sizes = {x.shape[0] for x in values}
    if not sizes:
        raise ShapeError("vmap: no argument has a batch axis", fix="set in_axes to 0 for one")
    if len(sizes) > 1:
        raise ShapeError(
            f"vmap: batch sizes differ: {sorted(sizes)}",
            operands=[x.node.describe() for x in values],
            fix="set in_axes to None for what all elements share",
        )
    return sizes.pop()
