"""Type rules refuse what does not fit, with the rule in words; sizes are never guessed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Graph, aval, registry
from minigrad.errors import DtypeError, GraphInvalid, MinigradError, ShapeError
from minigrad.ops.call import call_p

ONE = {"axes": (1,), "sizes": (2,), "strides": (1,), "dilations": (1,)}


def of(*shape: int, dtype: Any = np.float64) -> Any:
    return aval(shape, np.dtype(dtype))


#: primitive, operands, params, error, message
REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("add", (of(2), of(3)), {}, ShapeError, r"add: shapes \(2,\) and \(3,\) differ"),
    ("add", (of(2), of(2, dtype=np.float32)), {}, DtypeError, "float64 and float32 differ"),
    ("add", (of(2, dtype=bool),) * 2, {}, DtypeError, "takes integers and floats"),
    ("exp", (of(2, dtype=int),), {}, DtypeError, "exp takes floats"),
    ("bitwise_and", (of(2),) * 2, {}, DtypeError, "takes booleans and integers"),
    ("bitwise_left_shift", (of(2, dtype=bool),) * 2, {}, DtypeError, "takes integers"),
    ("mulhi", (of(2, dtype=np.uint64),) * 2, {}, DtypeError, "mulhi takes uint32"),
    ("where", (of(2),) * 3, {}, DtypeError, "where takes booleans"),
    ("where", (of(2, dtype=bool), of(2), of(3)), {}, ShapeError, "differ"),
    ("where", (of(2, dtype=bool), of(2), of(2, dtype=int)), {}, DtypeError, "differ"),
    ("in_range", (of(2),), {"low": 0, "high": 3, "what": "label"}, DtypeError, "label takes"),
    ("matmul", (of(2), of(2, 2)), {}, ShapeError, "batch axes"),
    ("matmul", (of(4, 2, 3), of(5, 3, 2)), {}, ShapeError, "batch axes"),
    ("matmul", (of(2, 3), of(2, 3)), {}, ShapeError, "inner sizes differ, 3 and 2"),
    ("broadcast_to", (of(3),), {"shape": (2,)}, ShapeError, "do not broadcast"),
    ("broadcast_to", (of(3, 1),), {"shape": (3,)}, ShapeError, "does not repeat"),
    ("reshape", (of(6),), {"shape": (4,)}, ShapeError, "6 elements"),
    ("permute_dims", (of(2, 3),), {"axes": (0, 0)}, ShapeError, "not a permutation"),
    ("slice", (of(3),), {"start": (0,), "stop": (4,), "step": (1,)}, ShapeError, "not lie within"),
    ("slice", (of(3),), {"start": (0,), "stop": (2,), "step": (0,)}, ShapeError, "not lie within"),
    (
        "pad", (of(3),), {"low": (-1,), "high": (0,), "inner": (0,), "value": 0.0}, ShapeError,
        "must not be negative",
    ),
    ("concat", (of(2), of(2, 1)), {"axis": 0}, ShapeError, "differ outside axis 0"),
    ("concat", (of(2), of(2, dtype=int)), {"axis": 0}, DtypeError, "differ"),
    ("sum", (of(2, dtype=bool),), {"axes": (0,), "keepdims": False}, DtypeError, "sum takes"),
    ("max", (of(0, 2),), {"axes": (0,), "keepdims": False}, ShapeError, "no elements"),
    ("argmax", (of(2, 0),), {"axis": 1}, ShapeError, "no elements"),
    ("cumulative_sum", (of(2, dtype=bool),), {"axis": 0, "reverse": False}, DtypeError, "takes"),
    ("take", (of(3), of(2)), {"axis": 0}, DtypeError, "take takes integers"),
    ("scatter_add", (of(3), of(2, dtype=int)), {"axis": 0, "n": 5}, ShapeError, "does not fit"),
    ("scatter_add", (of(2), of(2)), {"axis": 0, "n": 5}, DtypeError, "takes integers"),
    (
        "scatter_add", (of(2, dtype=bool), of(2, dtype=int)), {"axis": 0, "n": 5}, DtypeError,
        "takes integers and floats",
    ),
    ("windows", (of(2, 1),), ONE, ShapeError, "a window of 2 elements does not fit axis 1"),
    ("windows", (of(2, 3),), {**ONE, "strides": (0,)}, ShapeError, "must be at least 1"),
    ("fold_windows", (of(2, 2, 3),), {**ONE, "shape": (2, 3)}, ShapeError, "not the windows"),
    ("fold_windows", (of(2, 2, 2, dtype=bool),), {**ONE, "shape": (2, 3)}, DtypeError, "takes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "operands", "params", "kind", "message"), REFUSED, ids=lambda v: str(v)[:24]
)
def test_type_rule_refuses(
    name: str, operands: Any, params: Any, kind: type[MinigradError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        registry[name].aval(*operands, **params)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_call_refuses_operands_of_other_types() -> None:
    graph = mg.trace(lambda x: x * 2.0, mg.spec((3,)))
    assert call_p.aval(*(n.aval for n in graph.inputs), graph=graph, index=0) is of(
        3, dtype=np.float32
    )
    with pytest.raises(GraphInvalid, match="takes"):
        call_p.aval(of(3), graph=graph, index=0)
    assert isinstance(graph, Graph)


def test_infinities_and_nan_of_integers_are_none() -> None:
    x = np.array([0, 5])
    assert mg.isinf(x).tolist() == [False, False]
    assert mg.isnan(x).tolist() == [False, False]
    assert mg.isfinite(x).tolist() == [True, True]


def test_moving_to_a_device_that_is_not_there_is_an_error() -> None:
    if mg.backends()["cupy"] == "usable":
        assert mg.ones(2).to("cupy").device.startswith("cuda")
    else:
        with pytest.raises(mg.errors.BackendUnavailable, match="not usable here"):
            mg.ones(2).to("cupy")
