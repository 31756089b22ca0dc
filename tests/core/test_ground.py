"""The ground floor: shapes, trees, dtypes, errors; and avals, late binding, the registry."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import dtypes, errors, shapes, trees
from minigrad.core import Zero, aval, bind, registry
from minigrad.core.late import bound, call
from minigrad.errors import DtypeError, ShapeError

# Shapes -----------------------------------------------------------------------------


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=3))
def test_broadcast_is_numpys(case: hnp.BroadcastableShapes) -> None:
    assert shapes.broadcast(*case.input_shapes) == case.result_shape
    for small in case.input_shapes:
        axes = shapes.broadcast_axes(small, case.result_shape)
        kept = [n for i, n in enumerate(case.result_shape) if i not in axes]
        assert [n for n in small if n != 1] == [n for n in kept if n != 1]


@given(hnp.array_shapes(max_dims=3, max_side=3), hnp.array_shapes(max_dims=3, max_side=3))
def test_broadcast_fails_where_numpys_does(a: Any, b: Any) -> None:
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            shapes.broadcast(a, b)
    else:
        assert shapes.broadcast(a, b) == expected


def test_axes_are_sorted_counted_from_the_front_and_checked() -> None:
    assert shapes.axes_of(None, 3, "f") == (0, 1, 2)
    assert shapes.axes_of(-1, 3, "f") == (2,)
    assert shapes.axes_of((2, -3), 3, "f") == (0, 2)
    assert shapes.axes_of(np.int64(1), 3, "f") == (1,)
    assert shapes.axes_of(np.array([1, 0]), 3, "f") == (0, 1)
    with pytest.raises(ShapeError, match="f: axis 3 does not exist in an array of 3 axes"):
        shapes.axes_of(3, 3, "f")
    with pytest.raises(ShapeError, match="named twice"):
        shapes.axes_of((0, -3), 3, "f")
    with pytest.raises(ShapeError, match="a scalar has no axes"):
        shapes.axis_of(0, 0, "f")
    with pytest.raises(TypeError):
        shapes.axes_of(1.5, 3, "f")  # type: ignore[arg-type]


def test_shapes_and_pairs_take_integers_of_any_kind() -> None:
    assert (
        shapes.as_shape(3) == shapes.as_shape(np.int64(3)) == shapes.as_shape(np.array(3)) == (3,)
    )
    assert shapes.as_shape(np.array([2, 3])) == shapes.as_shape([2, 3]) == (2, 3)
    assert all(type(n) is int for n in shapes.as_shape((np.int64(2), np.int8(3))))
    assert shapes.pair(2, "size") == shapes.pair((2, 2), "size") == (2, 2)
    with pytest.raises(ShapeError, match="size has 3 entries, 2 are needed"):
        shapes.pair((1, 2, 3), "size")
    assert shapes.reduced((2, 3, 4), (0, 2), keepdims=True) == (1, 3, 1)
    assert shapes.reduced((2, 3, 4), (0, 2), keepdims=False) == (3,)
    assert shapes.size(()) == 1


# Trees ------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


@dataclass
class Box:
    content: Any
    label: str


trees.register(
    Box, lambda b: ([("content", b.content)], b.label), lambda label, c: Box(c[0], label)
)

leaf = st.integers()
nested = st.recursive(
    leaf | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Box, inner, st.text("xy", max_size=1))
    ),
    max_leaves=8,
)


@given(nested)
def test_tree_can_be_taken_apart_and_put_together(tree: Any) -> None:
    leaves, structure = trees.flatten(tree)
    assert structure.build(leaves) == tree
    assert type(structure.build(leaves)) is type(tree)
    assert structure.size == len(leaves) == len(structure.paths())
    assert trees.flatten(tree)[1] == structure
    assert hash(structure) == hash(trees.flatten(tree)[1])
    doubled = trees.map_leaves(lambda x: 2 * x, tree)
    assert trees.flatten(doubled)[0] == [2 * x for x in leaves]


def test_tree_names_its_leaves() -> None:
    tree = {"w": [1, (2, Point(3, 4))], "b": Box(5, "l")}
    assert trees.flatten(tree)[1].paths("p") == [
        "p.w[0]", "p.w[1][0]", "p.w[1][1].x", "p.w[1][1].y", "p.b.content",
    ]  # fmt: skip
    assert trees.flatten(3)[1].paths() == [""]


def test_structures_differ_by_kind_keys_length_and_label() -> None:
    kinds = [[1], (1,), {"a": 1}, {"b": 1}, [1, 1], 1, None, Point(1, 1), Box(1, "a"), Box(1, "b")]
    structures = [trees.flatten(k)[1] for k in kinds]
    for i, a in enumerate(structures):
        for j, b in enumerate(structures):
            assert (a == b) == (i == j)
    with pytest.raises(ValueError, match="2 leaves are needed, got 1"):
        trees.flatten([1, 2])[1].build([1])


def test_unknown_containers_are_leaves_and_registered_ones_may_be() -> None:
    odd = OrderedDict(a=1)
    assert trees.flatten(odd)[0] == [odd]
    box = Box([1, 2], "x")
    assert trees.flatten(box, open_registered=False)[0] == [box]
    assert trees.flatten(box)[0] == [1, 2]


# Dtypes -----------------------------------------------------------------------------


def test_dtype_names_and_limits() -> None:
    assert [dtypes.short(d) for d in dtypes.ALL] == [
        "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "f32", "f64",
    ]  # fmt: skip
    assert dtypes.as_dtype(float) == dtypes.get_default_dtype() == mg.float32
    assert dtypes.as_dtype("float64") is mg.float64
    assert dtypes.as_dtype(np.dtype(">i4")) == mg.int32
    assert dtypes.tolerance(mg.int32) == 0.0
    assert 0 < dtypes.tolerance(mg.float64) < dtypes.tolerance(mg.float32)
    for bad in (np.complex64, "nonsense", object, np.longdouble):
        if np.dtype(np.longdouble) == np.float64 and bad is np.longdouble:
            continue
        with pytest.raises(DtypeError):
            dtypes.as_dtype(bad)


def test_avals_are_interned_and_survive_copies() -> None:
    a = aval((2, 3), mg.float32)
    assert a is aval((2, 3), np.dtype("float32"))
    assert (a.ndim, a.size, a.nbytes, a.kind, repr(a)) == (2, 6, 24, "f", "f32[2, 3]")
    assert pickle.loads(pickle.dumps(a)) is a
    assert copy.deepcopy(a) is a
    assert aval((), mg.bool).size == 1


# Errors, late binding, records --------------------------------------------------------


@pytest.mark.parametrize("name", errors.__all__)
def test_error_class_has_a_manual_page_and_a_builtin_parent(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.MinigradError)
    assert len(kind.__doc__.splitlines()) >= 3
    if name != "MinigradError":
        builtin = (ValueError, TypeError, RuntimeError, AssertionError, MemoryError)
        assert issubclass(kind, builtin)


def test_error_message_has_its_parts_in_order() -> None:
    error = ShapeError("rule broken", operands=["left", "right"], rule="r", fix="f")
    lines = str(error).splitlines()
    assert lines[0] == "rule broken"
    assert [line.split()[0] for line in lines[1:]] == ["at", "with", "with", "rule", "fix"]
    assert "test_ground.py" in lines[1]


def test_late_binding_by_function_and_by_name() -> None:
    bind("test.double", lambda x: 2 * x)
    assert call("test.double", 4) == 8
    bind("test.prod", "math:prod")
    assert call("test.prod", [2, 3]) == 6
    assert bound("test.prod") is bound("test.prod")
    from minigrad.core import late

    for name in ("test.double", "test.prod"):
        del late._bound[name]
    with pytest.raises(KeyError):
        bound("test.double")


def test_registry_is_about_sixty_records_that_say_why() -> None:
    assert 60 <= len(registry) <= 90
    for primitive in registry.values():
        assert registry[primitive.name] is primitive
        assert repr(primitive) == f"<primitive {primitive.name}>"
        for i in range(2):
            if isinstance(primitive.vjp, tuple) and i < len(primitive.vjp):
                rule = primitive.rule(i)
                assert callable(rule) or isinstance(rule, Zero)
