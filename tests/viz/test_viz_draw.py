"""What a picture shows: boxes, roles, folding, names, values, marks."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from viz_samples import Model, data, gradient_graph, history

import minigrad as mg
from minigrad.core.tape import scope
from minigrad.errors import MinigradError
from minigrad.viz.picture import Picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "builtin")


def boxes(picture: Picture) -> dict[str, tuple[str, str]]:
    """Role and text of each box, by id."""
    root = ET.fromstring(picture.svg)
    return {
        g.get("id", ""): (
            g.get("class", "").removeprefix("box "),
            " ".join("".join(t.itertext()) for t in g.iter(f"{SVG}text")),
        )
        for g in root.iter(f"{SVG}g")
        if g.get("class", "").startswith("box ")
    }


def tooltips(picture: Picture) -> dict[str, str]:
    root = ET.fromstring(picture.svg)
    found = {}
    for g in root.iter(f"{SVG}g"):
        title = g.find(f"{SVG}title")
        if title is not None:
            found[g.get("id", "")] = title.text or ""
    return found


def texts(picture: Picture) -> str:
    return " | ".join(text for _, text in boxes(picture).values())


def test_viz_draw_shows_value_and_gradient_in_each_node_of_a_history() -> None:
    out = history()
    found = boxes(out.graph().draw())
    by_name = {text.split()[0]: (role, text) for role, text in found.values()}
    assert by_name["a"][0] == "parameter"
    assert "2" in by_name["a"][1]
    # the hand derivative: d tanh(u)/du = 1 - tanh(u)^2 with u = 0.1 (a b + c) = 0.4
    slope = 0.1 * (1 - np.tanh(0.4) ** 2)
    assert f"∂ {-3 * slope:.4g}".replace("-", "−") in re.sub(r"\s+", " ", by_name["a"][1])
    assert f"∂ {2 * slope:.4g}" in re.sub(r"\s+", " ", by_name["b"][1])
    assert by_name["d"] == ("operation", by_name["d"][1])
    assert "d = a × b" in by_name["d"][1]
    assert by_name["out"][0] == "output"
    assert "tanh" in by_name["out"][1]


def test_viz_draw_writes_literals_into_the_operation_that_uses_them() -> None:
    picture = history().graph().draw()
    assert "× 0.1" in texts(picture)
    assert "constant" not in {role for role, _ in boxes(picture).values()}
    shown = history().graph().draw(constants=True)
    assert "constant" in {role for role, _ in boxes(shown).values()}


def test_viz_draw_gives_nodes_the_ids_of_the_text() -> None:
    graph = history().graph()
    ids = set(boxes(graph.draw(constants=True)))
    assert ids == {"i0", "i1", "i2", *(f"n{i}" for i in range(len(graph)))}


def test_viz_draw_is_the_same_every_time() -> None:
    out = history()
    assert out.graph().draw().svg == out.graph().draw().svg


def test_viz_draw_folds_by_layer_with_a_backward_box_for_each() -> None:
    graph = gradient_graph()
    picture = graph.draw()
    found = boxes(picture)
    names = {text.split("  ")[0].split(" ")[0] for role, text in found.values() if role == "layer"}
    assert names == {"layers.0", "norm", "drop", "layers.1", "loss"}
    backward = [text for role, text in found.values() if role == "gradient_layer"]
    assert {t.split()[1] for t in backward} == names
    assert all(t.startswith("∂ ") for t in backward)
    assert "folded by layer" in picture.note
    assert "fold=False" in picture.note


def test_viz_draw_shows_parameters_and_their_gradients_in_their_layer() -> None:
    graph = gradient_graph()
    before = texts(graph.draw())
    assert "weight  f32[8, 6]" in before
    assert "∂weight  f32[8, 6]" in before
    x, y = data()
    graph(x, y)
    after = texts(graph.draw())
    assert re.search(r"weight  f32\[8, 6\]  ‖[\d.]+‖  ∂ ‖[\d.e−]+‖", after)


def test_viz_draw_levels_each_backward_box_with_its_forward_box() -> None:
    root = ET.fromstring(gradient_graph().draw().svg)
    links = [g for g in root.iter(f"{SVG}g") if g.get("class") == "link"]
    assert len(links) == 5
    for link in links:
        path = link.find(f"{SVG}path")
        assert path is not None
        numbers = [float(n) for n in re.findall(r"[-\d.]+", path.get("d", ""))]
        assert abs(numbers[1] - numbers[-1]) < 1.0, "the link is level"
        assert numbers[0] < numbers[-2], "backward is to the right"


def test_viz_draw_opened_has_a_box_for_each_operation_and_frames_for_layers() -> None:
    graph = gradient_graph()
    picture = graph.draw(fold=False)
    found = boxes(picture)
    roles = {role for role, _ in found.values()}
    assert {"input", "parameter", "state", "operation", "output", "gradient"} <= roles
    assert {"gradient_output", "update"} <= roles
    assert "layer" not in roles
    assert "u = · ÷ ·" in texts(picture)
    assert "mu = · ÷ 16" in texts(picture)
    frames = [g for g in ET.fromstring(picture.svg).iter(f"{SVG}g") if g.get("class") == "frame"]
    assert frames


def test_viz_draw_hides_moves_of_data_unless_they_are_named() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        t = mg.tag(mg.reshape(x, (3, 2)), "turned")
        return mg.sum(mg.matrix_transpose(t) * 2.0)

    graph = mg.trace(f, mg.spec((2, 3)))
    shown = texts(graph.draw())
    assert "turned" in shown
    assert "transpose" not in shown
    assert "f32[3, 2]ᵀ" in "".join(ET.fromstring(graph.draw().svg).itertext())


def test_viz_draw_backward_can_be_hidden_or_alone() -> None:
    graph = gradient_graph()
    hidden = {role for role, _ in boxes(graph.draw(backward="hide")).values()}
    assert "gradient_layer" not in hidden
    assert "layer" in hidden
    only = {role for role, _ in boxes(graph.draw(backward="only")).values()}
    assert only <= {"gradient_layer", "gradient", "gradient_output", "input"}
    nothing = mg.trace(mg.sum, mg.spec((3,))).draw(backward="only")
    assert "nothing to draw" in nothing.note


@pytest.mark.parametrize(
    "options",
    [{"backward": "no"}, {"direction": "RL"}, {"format": "gif"}, {"fold": "all"}, {"max_nodes": 0}],
)
def test_viz_draw_refuses_an_option_it_does_not_know(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(MinigradError, match=name):
        history().graph().draw(**options)


def test_viz_draw_highlight_paints_a_node_red_and_says_so() -> None:
    graph = gradient_graph()
    opened = boxes(graph.draw(fold=False, highlight="mu"))
    (marked,) = [text for _, text in opened.values() if "◄" in text]
    assert marked.startswith("mu")
    folded = boxes(graph.draw(highlight=["mu"]))
    (layer,) = [text for _, text in folded.values() if "◄" in text]
    assert layer.startswith("norm")
    assert "◄ mu" in layer
    with pytest.raises(KeyError, match="nothing"):
        graph.draw(highlight="nothing")


def test_viz_draw_marks_nan_infinity_and_dead_gradients_with_words() -> None:
    def f(x: mg.Tensor, w: mg.Tensor) -> mg.Tensor:
        z = mg.tag(x * 0.0, "z")
        return mg.sum(mg.log(z) * w) + mg.sum(mg.maximum(w - 1e9, 0.0))

    graph = mg.trace(f, mg.spec((3,)), mg.spec((3,))).grad(["w"])
    graph(np.ones(3, np.float32), np.array([0.0, 1.0, 1.0], np.float32))
    picture = graph.draw(fold=False)
    assert "NaN" in texts(picture)
    assert "inf  ◄ starts here" in texts(picture)
    assert texts(picture).count("starts here") <= 3
    assert "#c8102e" in picture.svg
    clean = mg.trace(lambda w: mg.sum(mg.maximum(w - 1e9, 0.0)), mg.spec((3,))).grad()
    clean(np.ones(3, np.float32))
    dead = clean.draw(fold=False)
    assert "0  dead" in texts(dead)
    assert "NaN" not in texts(dead)


def test_viz_draw_values_can_be_left_out() -> None:
    graph = history().graph()
    assert "‖" not in texts(graph.draw(values=False))
    assert "0.3799" not in texts(graph.draw(values=False))
    assert "∂" not in texts(graph.draw(gradients=False))


def test_viz_draw_derives_gradients_of_a_history_when_asked() -> None:
    x = mg.tensor([1.0, 2.0], name="x")
    loss = mg.sum(x * x)
    assert "∂" not in texts(loss.graph().draw())
    assert "∂  [2, 4]" in texts(loss.graph().draw(gradients=True))


def test_viz_draw_call_is_one_box() -> None:
    model = Model()
    x, y = data()
    graph = mg.trace(lambda x, y: model(x, y), x, y)
    opened = boxes(graph.draw(fold=False))
    assert sum(text.startswith("philox") for _, text in opened.values()) == 1


def test_viz_draw_tooltips_name_line_source_statistics_and_formula() -> None:
    graph = gradient_graph()
    x, y = data()
    graph(x, y)
    found = tooltips(graph.draw(fold=False))
    (mu,) = [t for i, t in found.items() if t.startswith("mu:") and "-" not in i]
    assert "div(" in mu
    assert "viz_samples.py, line" in mu
    assert "mg.mean(h, axis=0)" in mu
    assert "value: norm" in mu
    assert "layer norm" in mu


def test_viz_draw_names_statements_that_share_a_line_and_span_lines() -> None:
    # fmt: off
    a = mg.tensor(1.0); b = mg.tensor(2.0)  # noqa: E702
    total = (
        a * 2.0
        + b
    )
    # fmt: on
    shown = texts(total.graph().draw())
    assert "a  f32" in shown
    assert "b  f32" in shown
    assert "total = · + b" in shown


def test_viz_draw_second_derivative_has_a_column_of_its_own() -> None:
    f = mg.grad(mg.grad(lambda x: mg.tanh(x) * x))
    picture = mg.trace(f, mg.spec(())).draw()
    said = "".join(ET.fromstring(picture.svg).itertext())
    assert "backward of backward" in said


def test_viz_draw_folds_equal_layers_in_a_row_into_one_box() -> None:
    weights = [mg.Parameter(np.eye(4, dtype=np.float32), f"blocks.{i}.w") for i in range(30)]

    def deep(x: mg.Tensor) -> mg.Tensor:
        for i, w in enumerate(weights):
            with scope(f"blocks.{i}:Block"):
                x = mg.tanh(x @ w) * 0.5 + x
        with scope("head:Head"):
            return mg.sum(x * x)

    graph = mg.trace(deep, mg.spec((2, 4))).grad()
    found = boxes(graph.draw())
    (forward,) = [t for role, t in found.values() if role == "layer" and "× 30" in t]
    assert forward.startswith("blocks.0 … blocks.29")
    (backward,) = [t for role, t in found.values() if role == "gradient_layer" and "× 30" in t]
    assert backward.startswith("∂ blocks.0 … blocks.29")
    single = boxes(graph.draw(repeats=False, max_nodes=150))
    assert sum(role == "layer" for role, _ in single.values()) == 31


def test_viz_draw_does_not_fold_layers_whose_input_skips_one() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        first = x
        for i in range(4):
            with scope(f"b{i}:Block"):
                x = mg.tanh(x) * first
        return mg.sum(x)

    graph = mg.trace(f, mg.spec((2,)))
    found = boxes(graph.draw(fold=True, repeats=True))
    assert sum(role == "layer" for role, _ in found.values()) >= 1
    assert "mul" not in texts(graph.draw(fold=True, repeats=True))


def test_viz_draw_training_step_has_an_update_column_by_layer() -> None:
    model = Model()
    parameters = [*model.weights, *model.biases, model.gamma]

    @mg.compile
    def step(x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        loss = model(x, y)
        for p in parameters:
            p.grad = None
        loss.backward()
        with mg.no_grad():
            for p in parameters:
                p.assign(p - 0.1 * p.grad)
        return loss

    x, y = data()
    picture = step.graph(x, y).draw()
    assert "update ↓" in "".join(ET.fromstring(picture.svg).itertext())
    updates = [text for role, text in boxes(picture).values() if role == "update"]
    assert sorted(t.split()[1] for t in updates) == ["layers.0", "layers.1", "norm"]
    assert any("layers.1" in t and "new weight" in t and "uses ∂weight" in t for t in updates)


def test_viz_draw_several_results_are_named_by_the_structure() -> None:
    graph = mg.trace(lambda x: {"mean": mg.mean(x), "spread": mg.std(x)}, mg.spec((4,)))
    roles = boxes(graph.draw())
    named = {text.split()[0] for role, text in roles.values() if role == "output"}
    assert named == {"out.mean", "out.spread"}


def test_viz_draw_result_that_is_an_input_or_constant_still_draws() -> None:
    picture = mg.trace(lambda x: (x, mg.zeros((2,))), mg.spec((2,))).draw()
    assert picture.route == "builtin"
    unused = mg.trace(lambda x, unused: mg.sum(x), mg.spec((2,)), mg.spec((3,))).draw()
    assert "unused" in texts(unused)


def test_viz_draw_gradient_that_is_zero_by_construction_is_shown() -> None:
    graph = mg.trace(lambda x, w: mg.sum(x), mg.spec((2,)), mg.spec((3,))).grad()
    assert any(role == "gradient_output" for role, _ in boxes(graph.draw()).values())


def test_viz_draw_stop_gradient_stays_visible() -> None:
    graph = mg.trace(lambda x: mg.sum(mg.stop_gradient(x) * x), mg.spec((2,)))
    assert "stop gradient" in texts(graph.draw())


def test_viz_draw_title_and_direction() -> None:
    wide = history().graph().draw(direction="LR", title="tanh of a sum")
    tall = history().graph().draw()
    assert wide.size[0] > wide.size[1]
    assert tall.size[1] > tall.size[0]
    assert "tanh of a sum" in wide.svg


def test_viz_draw_takes_a_tensor_too() -> None:
    assert mg.viz.draw(history()).route == "builtin"


def test_viz_draw_a_graph_after_simplify_and_of_a_batch() -> None:
    simple = gradient_graph().simplify()
    assert simple.draw().route == "builtin"
    assert any(role == "gradient_layer" for role, _ in boxes(simple.draw()).values())
    mapped = mg.trace(mg.vmap(lambda x: mg.sum(x * x)), mg.spec((5, 3)))
    assert mapped.draw().route == "builtin"


def test_viz_draw_what_follows_the_gradients_has_a_column_of_its_own() -> None:
    def penalised(x: mg.Tensor) -> mg.Tensor:
        loss, slope = mg.value_and_grad(lambda x: mg.sum(mg.tanh(x)))(x)
        return loss + 0.1 * mg.sum(slope * slope)

    graph = mg.trace(penalised, mg.spec((3,)))
    for fold in (None, True, False):
        picture = graph.draw(fold=fold)
        assert picture.route == "builtin"
        assert "then ↓" in "".join(ET.fromstring(picture.svg).itertext())
        assert any(role == "output" for role, _ in boxes(picture).values())
    assert graph.grad().draw().route == "builtin"


def test_viz_draw_finds_the_loss_beside_another_result() -> None:
    w = mg.Parameter(np.ones(3, np.float32), name="w")

    @mg.compile
    def step(x: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        z = w * x
        w.grad = None
        loss = mg.sum(mg.exp(z))
        loss.backward()
        return mg.mean(z), loss

    assert "∂w" in texts(step.graph(np.ones(3, np.float32)).draw(fold=False))
