"""Module: names, listing, modes, copies, what may be an attribute."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


class Block(nn.Module):
    def __init__(self, n):
        self.fc = nn.Linear(n, n)
        self.scale = mg.Parameter(np.ones(n, np.float32))
        self.count = mg.Buffer(np.int64(0))

    def forward(self, x):
        return self.fc(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2)})
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = F.relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](self.drop(x))


PARAMETERS = [
    "first.weight",
    "first.bias",
    "blocks.0.scale",
    "blocks.0.fc.weight",
    "blocks.0.fc.bias",
    "blocks.1.scale",
    "blocks.1.fc.weight",
    "blocks.1.fc.bias",
    "heads.a.weight",
    "heads.a.bias",
]


def test_parameters_and_buffers_are_listed_by_path_and_named_by_it() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == PARAMETERS
    assert [name for name, _ in net.named_buffers()] == ["blocks.0.count", "blocks.1.count"]
    for path, cell in net.state_dict().items():
        assert cell.name == path
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert [n for n, _ in net.named_modules()][:4] == ["", "first", "blocks", "blocks.0"]
    assert [n for n, _ in net.named_children()] == ["first", "blocks", "heads", "drop"]
    assert next(iter(net.children())) is net.first
    assert [n for n, _ in net.blocks[0].named_parameters(recurse=False)] == ["scale"]
    assert next(net.named_parameters(prefix="net"))[0] == "net.first.weight"


def test_names_follow_when_a_submodule_is_attached_later_and_nested() -> None:
    block = Block(2)
    assert block.fc.weight.name == "fc.weight"
    inner, outer = nn.Module(), nn.Module()
    inner.block = block
    assert block.fc.weight.name == "block.fc.weight"
    outer.inner = inner
    assert block.fc.weight.name == "inner.block.fc.weight"
    assert block.count.name == "inner.block.count"
    block.extra = mg.Parameter([1.0])
    assert block.extra.name == "inner.block.extra"


def test_a_shared_module_or_cell_keeps_its_first_path() -> None:
    net = nn.Module()
    net.a = nn.Linear(2, 2)
    net.b = net.a
    net.c = nn.Linear(2, 2)
    net.c.weight = net.a.weight
    assert net.a.weight.name == "a.weight"
    assert [n for n, _ in net.named_parameters()] == ["a.weight", "a.bias", "c.bias"]
    assert list(net.state_dict()) == [
        "a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias",
    ]  # fmt: skip
    front = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    part = front[1:]
    assert part[0].weight.name == "1.weight"  # the slice does not rename the model's own
    del front
    gc.collect()
    other = nn.Module()
    other.part = part[0]
    assert part[0] is other.part


def test_every_call_has_a_scope_of_attribute_and_kind() -> None:
    graph = mg.trace(Net().eval(), mg.spec((2, 3)))
    scopes = {node.scope for node in graph.nodes if node.inputs}
    assert ("Net", "first:Linear") in scopes
    assert ("Net", "relu") in scopes
    assert ("Net", "blocks.1:Block", "fc:Linear") in scopes
    assert ("Net", "heads.a:Linear") in scopes
    assert {s[0] for s in scopes} == {"Net"}
    bn = mg.trace(nn.Sequential(nn.BatchNorm(3)), mg.spec((4, 3)))
    assert {n.scope for n in bn.nodes if n.inputs} == {("Sequential", "0:BatchNorm")}


def test_graph_inputs_are_named_by_path_and_by_the_parameters_of_forward() -> None:
    graph = mg.trace(Net().eval(), mg.spec((2, 3)))
    assert graph.inputs[0].name == "x"
    assert "blocks.1.fc.weight" in [n.name for n in graph.inputs]
    assert str(inspect.signature(Net())) == "(x)"
    assert "n" in str(inspect.signature(Block))  # the class keeps its own


def test_errors_name_the_layer_in_the_message_or_in_a_line_of_its_own() -> None:
    net = Net()
    pattern = r"^model\.first \(Linear 3 -> 4\): input has 5"
    with pytest.raises(mg.errors.ShapeError, match=pattern) as e:
        net(np.zeros((1, 5)))
    assert "  in " not in str(e.value)
    net.blocks[1].scale = mg.Parameter(np.ones(3))
    with pytest.raises(mg.errors.ShapeError, match="do not broadcast") as e:
        net(np.zeros((1, 3)))
    assert str(e.value).splitlines()[1] == "  in     model.blocks.1 (Block)"
    with pytest.raises(mg.errors.MinigradError, match="Module has no forward"):
        nn.Module()(1)


def test_train_and_eval_set_the_mode_everywhere() -> None:
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.drop.training = True
    assert [m.training for m in net.children()] == [False, False, False, True]
    assert all(m.training for m in net.train().modules())


@pytest.mark.parametrize("kind", [list, tuple, set, lambda x: {"k": x[0]}, lambda x: [{"k": x}]])
def test_plain_containers_of_modules_or_parameters_are_refused(kind) -> None:
    net = nn.Module()
    with pytest.raises(mg.errors.MinigradError, match="neither trained nor saved") as caught:
        net.layers = kind([nn.Linear(2, 2)])
    assert "nn.Module" in str(caught.value)
    with pytest.raises(mg.errors.MinigradError, match="hides a Parameter"):
        net.weights = kind([mg.Parameter([1.0])])
    net.sizes = [1, 2, (3, "x")]
    assert net.sizes == [1, 2, (3, "x")]


def test_modules_put_into_a_list_later_are_noticed_when_parameters_are_listed() -> None:
    net = nn.Module()
    net.layers = []
    net.layers.append(nn.Linear(2, 2))
    with pytest.raises(mg.errors.MinigradError, match="'layers' hides a Linear"):
        list(net.parameters())


def test_attributes_can_be_replaced_set_to_none_and_deleted() -> None:
    layer = nn.Linear(2, 3)
    layer.weight = mg.Parameter(np.zeros((3, 2), np.float32))
    assert layer.weight.name == "weight"
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    assert not np.asarray(layer(np.ones((1, 2)))).any()
    layer.bias = mg.Parameter(np.ones(3, np.float32))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    del layer.bias
    assert list(layer.state_dict()) == ["weight"]
    with pytest.raises(AttributeError):
        _ = layer.bias
    layer.weight = "text"
    assert list(layer.state_dict()) == []


def test_a_tensor_does_not_silently_replace_a_parameter() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(mg.errors.MinigradError, match="a tensor cannot replace it") as caught:
        layer.weight = mg.zeros((3, 2))
    assert ".weight.assign(value)" in str(caught.value)


def test_freezing_stops_gradients_and_thaws_again() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    net(np.ones((1, 2))).sum().backward()
    assert net[0].weight.grad is None
    assert net[1].weight.grad is not None
    net.zero_grad()
    assert net[1].weight.grad is None
    net.requires_grad_()
    net(np.ones((1, 2))).sum().backward()
    assert net[0].weight.grad is not None


def test_apply_visits_children_first_and_returns_the_module() -> None:
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


def test_conversion_changes_floating_cells_and_gradients_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4))
    net(np.ones((2, 3), np.float32)).sum().backward()
    assert net.float64() is net
    dtypes = {name: cell.dtype for name, cell in net.state_dict().items()}
    assert dtypes.pop("1.num_batches_tracked") == mg.int64
    assert set(dtypes.values()) == {mg.float64}
    assert net[0].weight.grad.dtype == mg.float64
    assert net[0].weight.name == "0.weight"
    assert net.astype("float16")[0].weight.dtype == mg.float16
    assert net.float32()[0].weight.dtype == mg.float32
    assert net.to("cpu") is net
    with pytest.raises(mg.errors.DtypeError, match="cannot be int64"):
        net.to(mg.int64)
    assert net[0].weight.dtype == mg.float32


def test_deepcopy_gives_independent_cells_and_keeps_ties_names_and_mode() -> None:
    net = Net().eval()
    net.blocks[1].fc.weight = net.blocks[0].fc.weight
    net.first.requires_grad_(False)
    twin = copy.deepcopy(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    for (path, a), b in zip(net.state_dict().items(), twin.state_dict().values(), strict=True):
        assert a is not b
        assert a.name == b.name
        assert np.array_equal(a.numpy(), b.numpy()), path
    assert twin.blocks[1].fc.weight is twin.blocks[0].fc.weight
    assert not twin.first.weight.requires_grad
    assert not twin.training
    x = np.ones((1, 3), np.float32)
    before = np.asarray(net(x))
    twin.first.weight.assign(twin.first.weight * 0)
    assert np.array_equal(np.asarray(net(x)), before)
    twin.extra = nn.Linear(1, 1)  # the twin's structure is its own
    assert not hasattr(net, "extra")
    twin.blocks[0].late = mg.Parameter([1.0])
    assert twin.blocks[0].late.name == "blocks.0.late"
    assert nn.Linear.__call__(copy.copy(net.first), x).shape == (1, 4)


def test_pickle_keeps_values_names_and_structure() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Dropout(0.25)).eval()
    net[0].requires_grad_(False)
    twin = pickle.loads(pickle.dumps(net))
    x = np.ones((2, 2), np.float32)
    assert np.array_equal(np.asarray(net(x)), np.asarray(twin(x)))
    assert repr(twin) == repr(net)
    assert not twin[0].weight.requires_grad
    assert twin[1].weight.name == "1.weight"
    assert not twin.training
    twin[1].extra = mg.Parameter([1.0])
    assert twin[1].extra.name == "1.extra"


def test_repr_is_the_nested_text_that_users_know() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Dropout(0.2)))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Dropout(p=0.2)\n"
        "  )\n"
        ")"
    )


def test_summary_counts_shared_parameters_once_and_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 4, bias=False))
    net.tied = nn.Linear(4, 4, bias=False)
    net.tied.weight = net[3].weight
    net[0].requires_grad_(False)
    mg.random.seed(0)
    table = net[:4].summary(mg.spec((5, 3)))
    assert [row.output for row in table.rows] == [((5, 4),)] * 4
    assert net[1].num_batches_tracked.item() == 0
    table = net.summary()
    assert table.parameters == 16 + 8 + 16
    assert table.trainable == 8 + 16
    assert table.buffers == 4 + 4 + 1
    assert table.nbytes == 4 * (40 + 8) + 8
    assert [row.parameters for row in table.rows] == [16, 8, 0, 16, 0]
    text = str(table)
    assert "weight (4, 3), bias (4)" in text
    assert "40 parameters, 24 of them trainable" in text
    assert next(line for line in text.splitlines() if line.startswith("3 ")).endswith("16")


def test_state_dict_round_trip() -> None:
    net, other = Net(), Net()
    other.load_state_dict(net.state_dict())
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert a is not b
        assert np.array_equal(a.numpy(), b.numpy())
    arrays = {name: cell.numpy() for name, cell in net.state_dict().items()}
    other.load_state_dict(arrays)
    arrays["first.weight"][:] = 7.0  # the cells hold copies
    assert not (other.first.weight.numpy() == 7.0).any()


def test_loading_checks_everything_first_and_lists_every_difference() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {name: cell.numpy() for name, cell in net.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["0.weight"] = np.zeros((2, 3), np.float32)
    state["0.bias"] = np.zeros(3, np.float64)
    del state["1.bias"]
    state["2.bias"] = np.zeros(1, np.float32)
    with pytest.raises(mg.errors.CheckpointError, match="nothing was loaded") as caught:
        net.load_state_dict(state)
    assert list(caught.value.operands) == [
        "0.weight has shape (3, 2), the state (2, 3)",
        "0.bias is float32, the state float64",
        "1.bias is missing",
        "2.bias is not in the model",
    ]
    with pytest.raises(mg.errors.CheckpointError):
        net.load_state_dict(state, strict=False)
    for name, cell in net.state_dict().items():
        assert np.array_equal(cell.numpy(), before[name])
    del state["0.weight"], state["0.bias"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["0.weight", "0.bias", "1.bias"]
    assert result.unexpected_keys == ["2.bias"]
    assert np.array_equal(net[1].weight.numpy(), before["1.weight"] + 1)


# Containers -----------------------------------------------------------------------


def test_sequential_indexes_slices_appends_and_iterates() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert net.append(nn.Linear(3, 1)) is net
    assert [n for n, _ in net.named_children()] == ["0", "1", "2"]
    assert len(net) == 3
    assert isinstance(net[1], nn.ReLU)
    assert isinstance(net[-1], nn.Linear)
    assert list(net)[2] is net[2]
    x = np.ones((4, 2), np.float32)
    assert np.array_equal(np.asarray(net[2](net[:2](x))), np.asarray(net(x)))
    net[1] = nn.Tanh()
    assert isinstance(net[1], nn.Tanh)
    assert [n for n, _ in net.named_children()] == ["0", "1", "2"]
    named = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU()})
    assert [n for n, _ in named.named_parameters()] == ["first.weight", "first.bias"]
    assert named.first is named[0]
    with pytest.raises(IndexError):
        net[7]
    with pytest.raises(mg.errors.DataError, match="type is not a module") as caught:
        nn.Sequential(nn.Linear(2, 2), nn.ReLU)
    assert "nn.ReLU()" in str(caught.value)
    with pytest.raises(mg.errors.DataError, match="function is not a module"):
        nn.Sequential(F.relu)


def test_module_list_grows_and_inserts() -> None:
    layers = nn.ModuleList([nn.Linear(1, 1)])
    layers.extend([nn.ReLU(), nn.Tanh()])
    layers.insert(1, nn.Sigmoid())
    kinds = ["Linear", "Sigmoid", "ReLU", "Tanh"]
    assert [type(m).__name__ for m in layers] == kinds
    assert [n for n, _ in layers.named_children()] == ["0", "1", "2", "3"]
    assert isinstance(layers[1:3], nn.ModuleList)
    assert [type(m).__name__ for m in layers[1:3]] == kinds[1:3]
    delattr(layers, "1")
    layers.append(nn.Linear(1, 2))
    assert len(layers) == 4
    layers.insert(0, nn.Linear(2, 2))
    assert layers[1].weight.name == "1.weight"


def test_module_dict_is_a_dict_of_modules() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
    heads.update({"b": nn.ReLU()})
    heads["c"] = nn.Tanh()
    assert heads.keys() == ["a", "b", "c"]
    assert list(heads) == ["a", "b", "c"]
    assert "b" in heads
    assert len(heads) == 3
    assert heads.values()[2] is heads["c"]
    del heads["b"]
    assert [k for k, _ in heads.items()] == ["a", "c"]
    with pytest.raises(KeyError):
        heads["b"]
    for key in ("", "a.b", "items", 3):
        with pytest.raises(mg.errors.DataError, match="cannot be a name"):
            heads[key] = nn.ReLU()


def test_a_module_that_holds_its_holder_is_listed_once() -> None:
    outer, inner = nn.Module(), nn.Linear(2, 2)
    outer.inner = inner
    inner.back = outer
    assert [n for n, _ in outer.named_parameters()] == ["inner.weight", "inner.bias"]
    assert list(outer.state_dict()) == ["inner.weight", "inner.bias"]


def test_summary_takes_arrays_and_nested_arguments() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 2)

        def forward(self, pair, flag):
            return (self.fc(pair["a"]), self.fc(pair["b"])) if flag else None

    table = Net().summary({"a": np.ones((4, 3)), "b": mg.ones((5, 3))}, True)
    assert [row.output for row in table.rows] == [((5, 2),)]
    assert repr(table) == str(table)
    assert table.operations == (4 + 5) * (2 * 2 * 3 + 2)  # both calls of the layer


def test_summary_counts_operations_where_they_are_done() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(2, 4, 3, padding=1)
            self.head = nn.Sequential(nn.Flatten(), nn.WeightNorm(nn.Linear(4 * 25, 3)))

        def forward(self, x):
            return self.head(F.relu(self.conv(x)))

    net, m = Net(), 6
    table = net.summary(mg.spec((m, 2, 5, 5)))
    assert table.head[-1] == "operations"
    by_path = {row.path: row for row in table.rows}
    elements = m * 4 * 25
    assert by_path["conv"].operations == elements * 2 * 2 * 9 + elements  # with the bias
    assert by_path[""].operations == 2 * elements  # relu: a comparison and a choice
    assert by_path["head.0"].operations == 0
    assert by_path["head.1"].operations == 2 * 300 + 2 * 3 + 300  # v * v, sum; sqrt, /; v * g
    assert by_path["head.1.layer"].operations == m * 3 * 2 * 100 + m * 3
    assert by_path["head.1.layer"].output == ((m, 3),)
    assert table.operations == sum(row.operations for row in table.rows)
    nodes = mg.trace(net, mg.spec((m, 2, 5, 5))).table().rows
    assert table.operations == sum(row.flops for row in nodes)
    assert net.summary().operations is None
    assert "operations" not in net.summary().head
    html = table._repr_mimebundle_()["text/html"]
    assert html.count("<tr>") == len(table.rows) + 1
    assert f"{table.operations:,} operations" in html
    line = next(text for text in str(table).splitlines() if text.startswith("(model)"))
    assert line.endswith(f"{2 * elements:,}")


def test_display_is_left_to_the_upper_floor(monkeypatch) -> None:
    from minigrad.core import late

    monkeypatch.setitem(late._bound, "display", lambda module: {"text/plain": repr(module)})
    assert nn.ReLU()._repr_mimebundle_() == {"text/plain": "ReLU()"}
