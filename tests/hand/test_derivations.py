"""The pages of ``docs/derivations`` are what the engine computes: each formula is evaluated.

The formulas stand on the pages and nowhere else. Three tests watch over the mechanism: every
section has a case and every layer a page; every damaged line is noticed; every link is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import derivation_norms  # noqa: F401  (enters its cases)
import numpy as np
import pytest
from derivation_cases import CASES
from derivations import PAGES, Problem, Section, check, damaged, evaluate, same, sections
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn

SECTIONS = {s.id: s for path in sorted(PAGES.glob("*.md")) for s in sections(path)}
#: Pages of optimisers, whose blocks are one step: below.
STEPS = ("sgd", "rmsprop", "adam")


class RandomDraw:
    """Sizes and values from a seed alone."""

    def __init__(self, seed: int, training: bool) -> None:
        self.seed, self.training = seed, training
        self.rng = np.random.default_rng(seed)

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.size(0, len(options) - 1)]

    def normal(self, *shape: int) -> Any:
        return np.asarray(self.rng.normal(size=shape))

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        return np.asarray(self.rng.uniform(low, high, size=shape))


class HypothesisDraw(RandomDraw):
    """Sizes from Hypothesis, so that they shrink; values from a seed that it draws."""

    def __init__(self, data: Any, training: bool) -> None:
        super().__init__(data.draw(st.integers(0, 10**6), label="seed"), training)
        self.data = data

    def size(self, low: int, high: int) -> int:
        return int(self.data.draw(st.integers(low, high)))


def problem_of(section: str, draw: RandomDraw) -> Problem:
    problem = CASES[section].make(draw)
    if isinstance(problem.layer, nn.Module):
        problem.layer.train(draw.training)
    return problem


RUNS = [(s, mode) for s, c in CASES.items() for mode in c.modes]


@pytest.mark.parametrize(("section", "training"), RUNS, ids=lambda x: str(x))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_layer_agrees_with_its_page_in_value_and_gradient(section, training, data) -> None:
    problem = problem_of(section, HypothesisDraw(data, training))
    check(problem, evaluate(SECTIONS[section].code, problem.given))


@pytest.mark.parametrize("section", CASES)
def test_every_line_of_a_page_is_needed(section) -> None:
    """A line that is damaged makes the comparison fail: it is read, and its value matters."""
    training = CASES[section].modes[0]
    which, lines = 0, []
    while (found := damaged(SECTIONS[section].code, which)) is not None:
        code, line = found
        assert any(_fails(section, seed, training, code) for seed in range(6)), line
        lines.append(line)
        which += 1
    assert len(lines) >= 2


def _fails(section: str, seed: int, training: bool, code: Any) -> bool:
    problem = problem_of(section, RandomDraw(seed, training))
    silent = problem.given | {"same": lambda a, b: None}  # a statement is no use of a line
    try:
        with np.errstate(all="ignore"):
            check(problem, evaluate(code, silent))
    except (AssertionError, IndexError, ValueError, TypeError):
        return True
    return False


def test_every_section_has_a_case_and_every_case_a_section() -> None:
    held = {s for s in SECTIONS if s.partition("/")[0] not in STEPS}
    assert set(CASES) == held
    assert set(OPTIMISERS) == set(SECTIONS) - held


#: What is not a layer or a loss.
NOT_LAYERS = {"Module", "ModuleDict", "ModuleList", "Sequential"}
IDENTITY = {"Identity"}


def test_every_layer_and_loss_has_a_page() -> None:
    covered = {name for c in CASES.values() for name in c.layers}
    public = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    assert public - NOT_LAYERS - IDENTITY == covered


def test_every_page_is_in_the_table_of_contents() -> None:
    text = (PAGES / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([a-z_0-9]+\.md)\)", text)
    assert sorted(linked) == sorted(p.name for p in PAGES.glob("*.md") if p.name != "README.md")


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda p: p.stem)
def test_a_page_has_no_python_that_is_not_evaluated(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = len(re.findall(r"^```", text, re.MULTILINE)) // 2
    inside = "".join(re.split(r"^## ", text, flags=re.MULTILINE)[1:])
    inside = len(re.findall(r"^```python", inside, re.MULTILINE))
    assert blocks == inside, "every block is Python and stands in a section"


# Optimisers -----------------------------------------------------------------------------

COUNT = 20
OPTIMISERS: dict[str, list[tuple[Any, dict[str, Any], dict[str, Any]]]] = {
    "sgd/SGD": [
        (mg.optim.SGD, {"lr": 0.1}, {"η": 0.1, "λ": 0.0}),
        (mg.optim.SGD, {"lr": 0.1, "weight_decay": 0.3}, {"η": 0.1, "λ": 0.3}),
    ],
    "sgd/Momentum": [
        (
            mg.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.3},
            {"η": 0.1, "ρ": 0.9, "τ": 0.2, "λ": 0.3},
        ),
        (mg.optim.SGD, {"lr": 0.1, "momentum": 0.9}, {"η": 0.1, "ρ": 0.9, "τ": 0.0, "λ": 0.0}),
    ],
    "sgd/Nesterov": [
        (
            mg.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3},
            {"η": 0.1, "ρ": 0.9, "λ": 0.3},
        )
    ],
    "rmsprop/RMSProp": [
        (
            mg.optim.RMSProp,
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.3},
            {"η": 0.1, "α": 0.9, "ε": 1e-3, "ρ": 0.5, "λ": 0.3},
        )
    ],
    "rmsprop/Centred": [
        (
            mg.optim.RMSProp,
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.3}
            | {"centered": True},
            {"η": 0.1, "α": 0.9, "ε": 1e-3, "ρ": 0.5, "λ": 0.3},
        )
    ],
    "adam/Adam": [
        (
            mg.optim.Adam,
            {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3},
            {"η": 0.1, "β1": 0.8, "β2": 0.95, "ε": 1e-4, "λ": 0.3},
        )
    ],
    "adam/AdamW": [
        (
            mg.optim.AdamW,
            {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3},
            {"η": 0.1, "β1": 0.8, "β2": 0.95, "ε": 1e-4, "λ": 0.3},
        )
    ],
}
RULES = [(s, i) for s, cases in OPTIMISERS.items() for i in range(len(cases))]


def _compare_steps(section: str, which: int, code: Any, compiled: bool = False) -> None:
    """Take 20 steps, each with a gradient that depends on w, and compare w after each."""
    kind, options, letters = OPTIMISERS[section][which]
    rng = np.random.default_rng(3)
    w = rng.normal(size=(4, 3))
    parameter = mg.Parameter(w)
    optimiser = kind([parameter], **options)

    def step(target: Any) -> None:
        loss = (mg.sin(parameter) * target).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    take = mg.compile(step) if compiled else step
    state = {"w": w, "m": 0.0, "v": 0.0, "a": 0.0, "b": 0.0, **letters}
    for k in range(1, COUNT + 1):
        target = rng.normal(size=w.shape)
        take(target)
        state |= {"k": k, "g": np.cos(state["w"]) * target}
        state = {**state, **evaluate(code, state)}
        same(parameter, state["w"], f"w after step {k}")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("section", "which"), RULES)
def test_optimiser_agrees_with_its_page_for_20_steps(section, which, compiled) -> None:
    _compare_steps(section, which, SECTIONS[section].code, compiled)


@pytest.mark.parametrize("section", OPTIMISERS)
def test_every_line_of_an_optimiser_is_needed(section) -> None:
    which = 0
    while (found := damaged(SECTIONS[section].code, which)) is not None:
        code, line = found
        with pytest.raises(AssertionError):
            _compare_steps(section, 0, code)
        which += 1
    assert which >= 2, line


# The mechanism can fail -------------------------------------------------------------------


def test_the_mechanism_notices_a_wrong_formula_and_a_missing_parameter() -> None:
    problem = problem_of("linear/Linear", RandomDraw(1, training=True))
    code = SECTIONS["linear/Linear"].code
    check(problem, evaluate(code, problem.given))
    with pytest.raises(AssertionError, match="dW"):
        check(problem, evaluate(code.replace("δ.T @ x", "2 * (δ.T @ x)"), problem.given))
    with pytest.raises(NameError):
        evaluate("y = undefined", problem.given)
    with pytest.raises(AssertionError, match="a statement on the page"):
        evaluate("same(x, x + 1e-6)", problem.given)
    problem.parameters = {"W": "weight"}
    with pytest.raises(AssertionError, match="every parameter"):
        check(problem, evaluate(code, problem.given))


def test_sections_are_cut_out_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "```python\n{}\n```\n"
    text = f"# P\n\n## A\n{block.format('x = 1')}words\n{block.format('y = x')}## B\nwords\n"
    page.write_text(text)
    assert sections(page) == [Section("page.md", "A", "x = 1\n\ny = x\n")]
    code, line = damaged("x = 1\n\ny = x\n", 1)
    assert line == "y = damage(x)"
    assert evaluate(code, {})["y"] == pytest.approx(1.02)
    assert damaged("x = 1\n", 1) is None
