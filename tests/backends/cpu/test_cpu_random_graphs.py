"""Compiled code on random graphs, held to the reference: 2,000 graphs with ``--slow``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigrad.backends.cpu.target import named_target, use_target
from minigrad.errors import BackendUnavailable

from .graphs import Case, cases
from .held import Limits, hold

#: Graphs of each kind in a usual run, and with ``--slow``.
FEW, MANY = 20, 300

KINDS: dict[str, dict[str, Any]] = {
    "exact": {"exact": True},
    "special": {"exact": True, "special": True},
    "rounded": {"exact": False},
    "exact-gradient": {"exact": True, "order": 1},
    "rounded-gradient": {"exact": False, "order": 1},
    "exact-second": {"exact": True, "order": 2, "most": 6},
    "rounded-second": {"exact": False, "order": 2, "most": 6},
}

#: Usual limits, and small ones: the ways for large arrays are gone with small ones, too.
LIMITS = st.one_of(
    st.just(Limits()),
    st.builds(
        Limits,
        parts=st.sampled_from([0, 2, 3, 7]),
        product_parts=st.sampled_from([0, 4]),
        serial=st.booleans(),
        across=st.sampled_from([16, 4096]),
        row_bytes=st.sampled_from([1 << 20, 200, 0]),
        unroll=st.sampled_from([36, 4]),
        scratch=st.sampled_from([96 << 10, 300, 0]),
        epilogues=st.sampled_from([True, True, False]),
        separate=st.sampled_from([3000, 1]),
    ),
)


def held(kind: str, examples: int) -> Callable[[], None]:
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(cases(**KINDS[kind]), LIMITS)
    def test(case: Case, limits: Limits) -> None:
        hold(case.function(), case.arrays, replace(limits, distribute=kind != "special"))

    return test


@pytest.mark.parametrize("kind", KINDS)
def test_random_graphs_give_what_the_reference_gives(kind: str) -> None:
    held(kind, FEW)()


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3"])
def test_random_graphs_on_narrower_vectors(target: str) -> None:
    with _or_skip(target):
        for kind in ("exact", "special", "rounded", "rounded-gradient"):
            held(kind, FEW)()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "x86-64", "x86-64-v3"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_random_graphs(kind: str, target: str) -> None:
    with _or_skip(target):
        held(kind, MANY)()


def _or_skip(target: str) -> Any:

    try:
        return use_target(named_target(target))
    except BackendUnavailable as error:
        pytest.skip(str(error))


def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a reduction that misses its last element is seen."""
    from . import held as helpers

    original = helpers.runs

    def wrong(*args: Any) -> Any:
        found = original(*args)
        found[0] = np.nextafter(found[0], np.inf, dtype=found[0].dtype)
        return found

    monkeypatch.setattr(helpers, "runs", wrong)
    with pytest.raises(AssertionError, match="result 0"):
        hold(lambda x: x + 1.0, [np.arange(5.0)])
