"""``mg.compile``: trace once per signature, optimise, run; state updated in place."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import partial, update_wrapper
from threading import Lock
from typing import Any, cast

import numpy as np

from minigrad.backends import backend_named
from minigrad.backends.base import Backend, default_backend
from minigrad.backends.report import Plan
from minigrad.changes import changes
from minigrad.core.aval import Aval
from minigrad.core.collector import paused_collector
from minigrad.core.door import as_tensor, set_array_module
from minigrad.core.graph import Graph
from minigrad.core.late import call
from minigrad.core.node import Node
from minigrad.core.state import Cell
from minigrad.core.tape import Tape, placeholder, recorder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import get_default_dtype, supported
from minigrad.errors import MinigradError, ShapeError
from minigrad.trees import Tree, flatten

from .entry import Choice, Entry, first_valid
from .shortcut import MISS
from .tracing import graph_of, is_array, names_of, output_nodes

__all__ = ["Compiled", "compile", "use"]

_default: list[str | None] = [None]
_MANY_SIGNATURES = 16
_MANY_STATES = 16  # traces of one signature under different attributes: train, eval, ...


class Compiled:
    """A function that is traced once for each signature of shapes and dtypes, then replayed.

    State cells that the function reads become inputs; those that it assigns, and the
    ``.grad`` that it sets, are updated after each run. Arguments that are not arrays
    (numbers, strings, modules, cells) are part of the signature.
    """

    def __init__(self, function: Callable[..., Any], backend: str | None) -> None:
        self.function = function
        self.backend = backend
        self._entries: dict[Hashable, list[Entry]] = {}
        self._shortcuts: dict[Hashable, list[Entry]] = {}  # the same, by the types of plain arrays
        self._lock = Lock()
        self._warned = False
        self._fast: Callable[[tuple[Any, ...]], Any] | None = None  # the last entry's shortcut
        update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _Method(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the function; a copy traces anew."""
        return Compiled, (self.function, self.backend)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run for these arguments, after tracing them if their signature is new."""
        if self._fast is not None and not kwargs:
            result = self._fast(args)
            if result is not MISS:
                return result
        if recorder.tape is not None or recorder.transforming:
            return self.function(*args, **kwargs)  # part of a larger trace or transformation
        known = None if kwargs else self._known(args)
        if known is not None:
            entry, arrays = known
            self._fast = entry.fast
            return entry.run(arrays, lambda: [as_tensor(x).node for x in args])
        leaves, tree = flatten((args, kwargs), open_registered=False)
        if _abstract(leaves):
            return self.function(*args, **kwargs)
        entry, data = self._entry(leaves, tree)
        if len(data) != entry.arity:
            raise ShapeError(
                f"{self._name}: cannot run on types alone",
                fix="pass arrays; mg.spec is for .graph() and .explain()",
            )
        if not kwargs:
            self._note(args, entry)
        return entry.run([x.value for x in data], lambda: [x.node for x in data])

    def _known(self, args: tuple[Any, ...]) -> tuple[Entry, list[Any]] | None:
        """Return the entry of a call with plain arrays that was made before, and the arrays."""
        found = self._shortcuts.get(_plain_key(args, self._backend))
        entry = None if found is None else first_valid(found)
        if entry is None:
            return None
        arrays = [x if type(x) is np.ndarray else x.node.value for x in args]
        return entry, arrays

    def _note(self, args: tuple[Any, ...], entry: Entry) -> None:
        """Remember where the entries for a call with plain arrays are."""
        key = _plain_key(args, self._backend)
        if key is not None:
            for entries in list(self._entries.values()):
                if entry in entries:
                    self._shortcuts[key] = entries

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """Return the graph traced for these arguments, before optimisation."""
        leaves, tree = flatten((args, kwargs), open_registered=False)
        return self._entry(leaves, tree)[0].graph

    def explain(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for these arguments: what runs, in which order, and what it takes.

        Given arrays, it is run a few times to be timed; no state changes. ``mg.spec`` in
        their place asks for the plan alone.
        """
        leaves, tree = flatten((args, kwargs), open_registered=False)
        entry, data = self._entry(leaves, tree)
        if any(isinstance(leaf, Aval) for leaf in leaves):
            return entry.explain(None)
        return entry.explain([x.value for x in data])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]

    @property
    def signatures(self) -> int:
        """How many times the function was traced."""
        return sum(len(found) for found in list(self._entries.values()))

    def _entry(self, leaves: list[Any], tree: Tree) -> tuple[Entry, list[Tensor]]:
        data: list[Tensor] = []
        key: list[Hashable] = [get_default_dtype(), tree]
        objects = []
        for leaf in leaves:
            if isinstance(leaf, Aval):  # a type only: for ``graph`` and ``explain``
                key.append(leaf)
            elif isinstance(leaf, Cell):  # state, also when it is passed: it may be assigned
                key.append((Cell, id(leaf)))
            elif is_array(leaf):
                data.append(as_tensor(leaf))
                key.append(data[-1].node.aval)
            else:
                key.append(_constant_key(leaf))
                objects.append(leaf)
        backend = self._backend_for(data)
        try:
            entries = self._entries_of((backend, *key), objects)
        except TypeError as error:
            raise MinigradError(
                f"compile: an argument of {self._name} is neither an array nor hashable: {error}",
                fix="pass arrays, numbers, strings or modules, or close over the object",
            ) from error
        entry = first_valid(entries)
        if entry is not None:
            return entry, data
        with self._lock:
            entry = first_valid(entries)  # another thread may have been faster
            if entry is None:
                with paused_collector():
                    entry = self._trace(leaves, tree, backend_named(backend))
                entries.insert(0, entry)
                del entries[_MANY_STATES:]
        if self.signatures > _MANY_SIGNATURES and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name} was traced {self.signatures} times. A number that changes from "
                "call to call is cheaper as a tensor: mg.tensor(x).",
                stacklevel=4,
            )
        return entry, data

    def _entries_of(self, key: Hashable, objects: Sequence[Any]) -> list[Entry]:
        """Return what is compiled for a signature, until an object that it names is gone."""
        found = self._entries.get(key)
        if found is None:
            found = self._entries.setdefault(key, [])
            for x in objects:
                if _has_identity(x):
                    weakref.finalize(x, _forget, weakref.ref(self), key).atexit = False
        return found

    @property
    def _backend(self) -> str:
        return self.backend or _default[0] or default_backend()

    def _backend_for(self, data: Sequence[Tensor]) -> str:
        """Return the backend for these arguments: unless one is named, where they are."""
        chosen = self._backend
        if not self.backend and not _default[0]:
            away = any(x.value is not None and not isinstance(x.value, np.ndarray) for x in data)
            return "cupy" if away else chosen
        return chosen

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _trace(self, leaves: list[Any], tree: Tree, backend: Backend) -> Entry:
        paths = tree.paths()
        inputs: list[Node] = []
        fresh = []
        for leaf, path in zip(leaves, paths, strict=True):
            if is_array(leaf) and not isinstance(leaf, Cell):
                kind = leaf if isinstance(leaf, Aval) else as_tensor(leaf).node.aval
                inputs.append(placeholder(kind, path))
                fresh.append(Tensor(inputs[-1]))
            else:
                fresh.append(leaf)
        args, kwargs = tree.build(fresh)
        _rename(self.function, args, kwargs, inputs)
        with Tape() as tape:
            for owner in (*leaves, *_bound_to(self.function)):
                if hasattr(owner, "_guard"):  # a module, whose attributes the trace may read
                    owner._guard()
            out = self.function(*args, **kwargs)
            outputs, structure = output_nodes(out, "compile")
            outputs += [g for g in tape.grads.values() if g is not None]
        graph = graph_of(inputs, outputs, tape, structure, self._name)
        passed = [x for x in leaves if isinstance(x, Cell)]
        return Entry(graph, tape, backend, passed, self._choice())

    def _choice(self) -> Choice:
        if self.backend:
            return Choice(True, lambda: True)
        default = _default[0]
        return Choice(default is not None, lambda: _default[0] == default)


class _Method(partial[Any]):
    """A compiled method of one object: ``model.step(x)``, ``model.step.explain(x)``."""

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """Return the graph traced for these arguments, before optimisation."""
        return _compiled(self).graph(*self.args, *args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for these arguments: what runs, in which order, and what it takes."""
        return _compiled(self).explain(*self.args, *args, **kwargs)

    @property
    def signatures(self) -> int:
        """How many times the method was traced, for all objects."""
        return _compiled(self).signatures


def _plain_key(args: tuple[Any, ...], backend: str) -> Hashable | None:
    """Return a key for arguments that are all tensors or native arrays; else None.

    Whether one of them is on a device counts: the backend may be chosen by that.
    """
    key: list[Hashable] = [backend, get_default_dtype()]
    away = False
    for x in args:
        if type(x) is Tensor:
            value = x.node.value
            if value is None:  # traced
                return None
            away |= type(value) is not np.ndarray
            key.append(x.node.aval)
        elif type(x) is np.ndarray and x.dtype in supported:
            key.append((x.shape, x.dtype))
        else:
            return None
    return away, *key


def _compiled(method: partial[Any]) -> Compiled:
    return cast(Compiled, method.func)


def _bound_to(function: Any) -> tuple[Any, ...]:
    """Return the object of a bound method, or the first arguments of a partial function."""
    return (
        function.args if isinstance(function, partial) else (getattr(function, "__self__", None),)
    )


def _has_identity(x: Any) -> bool:
    """Whether an object equals itself alone, as modules and functions do."""
    plain: Any = object.__hash__
    return type(x).__hash__ is plain and type(x).__weakrefoffset__ != 0


def _constant_key(x: Any) -> Hashable:
    """Return what stands for an argument that is no array in a signature.

    An object with an identity is not kept alive by what was compiled for it.
    """
    if type(x) is float:
        return float, repr(x)
    if type(x) is slice:
        return slice, x.start, x.stop, x.step
    return type(x), weakref.ref(x) if _has_identity(x) else x


def _forget(compiled: weakref.ref[Compiled], key: Hashable) -> None:
    owner = compiled()
    if owner is not None:
        owner._entries.pop(key, None)


def _rename(function: Any, args: Any, kwargs: Any, inputs: list[Node]) -> None:
    """Give the inputs the names of the function's parameters."""
    trees = [flatten(a, open_registered=False)[1] for a in args]
    names = [n for part in names_of(function, trees) for n in part]
    leaves = [leaf for a in args for leaf in flatten(a, open_registered=False)[0]]
    for leaf, name in zip(leaves, names, strict=True):
        if isinstance(leaf, Tensor) and leaf.node in inputs:
            leaf.node.name = name
    for key, value in kwargs.items():
        if isinstance(value, Tensor) and value.node in inputs:
            value.node.name = key


def _abstract(leaves: list[Any]) -> bool:
    return any(isinstance(x, Tensor) and x.node.value is None for x in leaves)


def compile(f: Callable[..., Any] | None = None, *, backend: str | None = None) -> Any:
    """Return ``f`` compiled: traced at the first call with each signature, then replayed.

    Works as a decorator. Parameters, buffers, optimiser state and random generators that
    ``f`` reads become inputs, those that it changes are updated: a whole training step is
    one call. Called inside another trace or transformation, it is part of that.
    Attributes of modules that it calls or is given are checked at each call; globals,
    closures and attributes of other objects are read while tracing, once.

    Parameters
    ----------
    f
        A function. Its Python code runs only while tracing.
    backend
        A name from ``mg.backends()``; the default is that of ``mg.use``.

    Raises
    ------
    TraceError
        If ``f`` asks a tensor for its value.
    BackendUnavailable
        If the backend cannot be used here.
    """
    if f is None:
        return partial(compile, backend=backend)
    if backend is not None:
        backend_named(backend)
    return Compiled(f, backend)


class use:
    """Make a backend the default: ``mg.use("cupy")``, or ``with mg.use("numpy"):``.

    New tensors are made on its device, and ``mg.compile`` without ``backend=`` uses it.
    """

    def __init__(self, backend: str) -> None:
        self._before = _default[0]
        self._set(backend)

    def _set(self, name: str) -> None:
        chosen = backend_named(name)
        set_array_module(chosen.module())
        _default[0] = name
        changes.note()

    def __enter__(self) -> use:
        return self

    def __exit__(self, *_: object) -> None:
        self._set(self._before or "numpy")
        _default[0] = self._before
        changes.note()
