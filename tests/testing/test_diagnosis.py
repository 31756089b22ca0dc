"""What compare_gradients says about the mistakes that people make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad.errors import DataError, GradientMismatch
from minigrad.testing import compare_gradients
from tests.testing.test_compare import batch_norm, by_hand, case

ARGS, DELTA = case()


def changed(values: Any, index: tuple[int, ...], value: float) -> Any:
    copy = values.copy()
    copy[index] = value
    return copy


@pytest.mark.parametrize(
    ("name", "change", "diagnosis"),
    [
        ("x", lambda g: g.T, "it is transposed"),
        ("var", lambda g: g * 2.0, "a factor of 2 too much"),
        ("mu", lambda g: g * 0.0, "it is zero"),
        ("beta", lambda g: g / 6.0, "a factor of 1/6 too much"),
        ("u", lambda g: changed(g, (2, 1), 3.0), "1 of 18 elements is wrong"),
        ("u", lambda g: changed(changed(g, (2, 1), 3.0), (0, 0), 2.0), "2 of 18 elements are"),
        ("u", lambda g: changed(g, (2, 1), np.nan), "1 of 18 elements are not finite"),
        ("gamma", lambda g: g + np.inf, "3 of 3 elements are not finite"),
        ("x", lambda g: g.astype(np.float32), "it was computed in float32"),
        ("x", lambda g: g.astype(np.float16), "it was computed in float16"),
        ("mu", lambda g: np.broadcast_to(g, (6, 3)), r"it was repeated from (1, 3) to (6, 3)"),
        ("beta", lambda g: np.stack([g, g * 0.0]), "a sum over axis 0 is missing"),
        ("mu", lambda g: g.sum(), "fewer elements than"),
        ("x", lambda g: g[::-1], "'x': by hand: relative error"),
    ],
)
def test_the_mistake_is_named_at_the_step_where_it_was_made(
    name: str, change: Any, diagnosis: str
) -> None:
    hand = by_hand(ARGS, DELTA)
    with pytest.raises(GradientMismatch) as caught:
        compare_gradients(
            batch_norm, ARGS, cotangent=DELTA, hand={**hand, name: change(hand[name])}
        )
    first = caught.value.message.splitlines()[0]
    assert f"the gradient first differs at {name!r}" in first
    assert diagnosis in first


def test_a_small_difference_is_shown_with_the_digits_that_differ() -> None:
    hand = by_hand(ARGS, DELTA)
    hand["x"] = hand["x"] * (1.0 + 1e-8)
    with pytest.raises(GradientMismatch) as caught:
        compare_gradients(batch_norm, ARGS, cotangent=DELTA, hand=hand)
    found, wanted = (
        caught.value.message.splitlines()[0].split(": ")[-1].split(";")[0].split(", should be ")
    )
    assert found != wanted
    assert "too much" not in caught.value.message.splitlines()[0]


@pytest.mark.parametrize("value", [None, "nothing", np.ones(3) * 1j])
def test_what_is_not_a_real_array_is_no_gradient(value: Any) -> None:
    with pytest.raises(DataError, match=r"'beta' is .*, not real numbers"):
        compare_gradients(
            batch_norm, ARGS, cotangent=DELTA, hand={**by_hand(ARGS, DELTA), "beta": value}
        )


def test_lists_and_integers_are_gradients_too() -> None:
    hand: dict[str, Any] = by_hand(ARGS, DELTA)
    hand["beta"] = hand["beta"].tolist()
    assert compare_gradients(batch_norm, ARGS, cotangent=DELTA, hand=hand).ok
