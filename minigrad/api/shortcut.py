"""The shortest way through a compiled call: a function written for one entry.

A training step of a small network takes a few microseconds of native code. The general
path of a call takes ten times that in Python, so for the usual case a function is written
out: plain arrays as arguments, state in cells, results computed natively. Whatever is not
usual is answered with ``MISS`` before anything was done.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from minigrad.changes import changes
from minigrad.core.door import as_tensor
from minigrad.core.node import Node
from minigrad.core.origin import where
from minigrad.core.tape import INPUT, recorder
from minigrad.core.tensor import Tensor
from minigrad.ops.call import call_p

__all__ = ["MISS", "shortcut"]

#: What a shortcut returns if it does not apply.
MISS: Final = object()

#: Attributes of which each change is counted; others are looked at in each call.
_COUNTED = frozenset(("_configuration", "training", "trainable", "has_grad"))


def shortcut(entry: Any) -> Callable[[tuple[Any, ...]], Any] | None:
    """Return a function of a call's arguments for an entry, or None if it is not usual.

    ``entry`` is valid now, with as many arguments as its graph.
    """
    native = getattr(entry.execute, "native", None)
    if native is None or any(cell is None for cell, _, _ in entry.state):
        return None
    if entry.linked and (entry.updated or entry.grads):
        return None  # its history keeps the state as it was
    graph, cells = entry.graph, [cell for cell, _, _ in entry.state]
    replaced = {i for i, _ in entry.replaced}
    names: dict[str, Any] = {
        "MISS": MISS, "changes": changes, "recorder": recorder, "Tensor": Tensor, "Node": Node,
        "INPUT": INPUT, "where": where, "array": np.ndarray,
        "build": entry.build, "seen": SimpleNamespace(count=changes.count), "entry": entry,
    }  # fmt: skip
    lines = [
        "def fast(args):",
        f"    if len(args) != {entry.arity} or recorder.tape is not None or recorder.transforming:",
        "        return MISS",
        "    if changes.count != seen.count:",
        "        if not (entry.valid and entry.choice.holds()):",
        "            return MISS",
        "        seen.count = changes.count",
    ]
    for i, (owner, name, value) in enumerate(entry.tape.guards.values()):
        if name not in _COUNTED and type(owner()) is not SimpleNamespace:
            names[f"o{i}"], names[f"w{i}"] = owner, value
            lines += [f"    if getattr(o{i}(), {name!r}, w{i}) != w{i}:", "        return MISS"]
    values = []
    for i, node in enumerate(graph.arguments):
        names[f"a{i}"], names[f"s{i}"], names[f"d{i}"] = node.aval, node.aval.shape, node.aval.dtype
        values.append(f"v{i}")
        lines += [
            f"    v{i} = args[{i}]",
            f"    if type(v{i}) is Tensor:",
            f"        n = v{i}.node",
            f"        if n.aval is not a{i}:",
            "            return MISS",
            f"        v{i} = n.value",
            f"    elif type(v{i}) is not array or v{i}.shape != s{i} or v{i}.dtype != d{i}:",
            "        return MISS",
        ]
    for i, cell in enumerate(cells):
        names[f"c{i}"] = cell
        if entry.arity + i in replaced:
            values.append(f"c{i}._held")
        else:
            values.append(f"(h.value if type(h := c{i}._held) is Node else h)")
    passed = [values[i] for i in native.arguments]
    results = [f"r{position}" for position in native.outputs]
    run = _on_a_device if callable(native) else _at_home
    lines += run(entry, native, passed, names)
    if entry.linked:
        return _written(lines + _with_history(entry, cells, results, names), names)
    n = entry.returned
    given = iter(zip(graph.outputs[n:], results[n:], strict=False))
    made = []
    if any(node is not None for _, node in entry.grads) or n:
        lines.append("    place = where(recorder.scope, 3)")
    for i, (parameter, node) in enumerate(entry.grads):
        names[f"p{i}"] = parameter
        if node is None:
            lines += [
                f"    if p{i}._grad is not None:",
                f"        p{i}._grad = None",
                "        changes.note()",
            ]
            continue
        output, result = next(given)
        lines += [
            f"    if getattr(p{i}, '_grad', None) is None:",
            "        changes.note()",
            f"    p{i}._grad = {_tensor(output, result, f'g{i}', names)}",
        ]
    for i, (output, result) in enumerate(zip(graph.outputs[:n], results, strict=False)):
        made.append(_tensor(output, result, f"y{i}", names))
    single = n == 1 and _is_single(entry)
    lines.append(f"    return {made[0]}" if single else f"    return build([{', '.join(made)}])")
    return _written(lines, names)


def _at_home(entry: Any, native: Any, passed: list[str], names: dict[str, Any]) -> list[str]:
    """Return the lines that run the plan and give cells their new arrays, in one call.

    Some state may have been written over. The rest must follow before Python may raise
    KeyboardInterrupt, which it may do after any call.
    """
    names["call"] = native.call
    lines = []
    for i, take in enumerate(native.takes):
        names[f"t{i}"] = take
        lines.append(f"    r{i} = t{i}()")
        passed.append(f"r{i}")
    given = [str(native.plan.address), *passed]
    commits = [
        (cell, f"r{position}")
        for cell, position in zip(entry.updated, native.updates, strict=True)
        if position >= 0
    ]
    if commits:
        given.append("'_held'")
    for i, (cell, result) in enumerate(commits):
        names[f"u{i}"] = cell
        given += [f"u{i}", result]
    return [*lines, f"    if call({', '.join(given)}):", "        return MISS"]


def _on_a_device(entry: Any, native: Any, passed: list[str], names: dict[str, Any]) -> list[str]:
    """Return the lines that run a graph which writes over the state where it lies."""
    names["call"], names["cells"] = native, [cell for _, cell in entry.replaced]
    made = ", ".join(f"r{i}" for i in native.outputs)
    lines = []
    if not entry.choice.named:  # the device was chosen by an argument there
        home = " and ".join(f"type(v{i}) is array" for i in range(entry.arity))
        lines = [f"    if {home}:", "        return MISS"]
    return [
        *lines,
        f"    r = call({', '.join(['cells', *passed])})",
        "    if r is None:",
        "        return MISS",
        f"    [{made}] = r",
    ]


def _written(lines: list[str], names: dict[str, Any]) -> Callable[[tuple[Any, ...]], Any]:
    exec("\n".join(lines), names)
    found: Callable[[tuple[Any, ...]], Any] = names["fast"]
    return found


def _with_history(
    entry: Any, cells: list[Any], results: list[str], names: dict[str, Any]
) -> list[str]:
    """Return the lines that make results into which ``backward`` sees, where that is wanted."""
    names["call_p"], names["as_tensor"] = call_p, as_tensor
    lines = ["    place = where(recorder.scope, 3)", "    if recorder.recording:"]
    operands = [f"as_tensor(args[{i}]).node" for i in range(entry.arity)]
    operands += [f"c{i}.leaf" for i in range(len(cells))]
    lines.append(f"        inputs = ({', '.join(operands)}{',' * bool(operands)})")
    plain, linked = [], []
    for i, (output, result) in enumerate(
        zip(entry.graph.outputs[: entry.returned], results, strict=False)
    ):
        plain.append(_tensor(output, result, f"y{i}", names))
        names[f"y{i}_params"] = {"graph": entry.graph, "index": i}
        linked.append(
            f"Tensor(Node(call_p, inputs, y{i}_params, y{i}_aval, {result}, "
            f"place, None, y{i}_name))"
        )
    single = entry.returned == 1 and _is_single(entry)
    for made, indent in ((linked, "        "), (plain, "    ")):
        what = made[0] if single else f"build([{', '.join(made)}])"
        lines.append(f"{indent}return {what}")
    return lines


def _is_single(entry: Any) -> bool:
    """Whether the function returned one tensor, and not a container with one."""
    probe = object()
    return entry.build([probe]) is probe


def _tensor(node: Node, result: str, label: str, names: dict[str, Any]) -> str:
    names[f"{label}_aval"], names[f"{label}_name"] = node.aval, node.name
    return f"Tensor(Node(INPUT, (), {{}}, {label}_aval, {result}, place, None, {label}_name))"
