"""Module: a model or a layer, whose attributes are its parameters, buffers and sub-modules.

A module is also a tree for transformations: ``mg.grad(loss)(model, x)`` returns a module
of gradients. Nothing here knows a layer, a gradient rule or a backend.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from minigrad.changes import changes
from minigrad.core.late import call
from minigrad.core.state import Buffer, Cell, Parameter
from minigrad.core.tape import guarded, recorder, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike, as_dtype, float32, float64, kind_of
from minigrad.errors import DtypeError, MinigradError
from minigrad.ops.composed import to

from .attributes import Info, comparable
from .loading import LoadResult, load_cells
from .naming import home_of, join, line_of, name_cell, refuse_plain_container, role_of
from .summary import Summary, note_call, summarise

__all__ = ["Module"]


class _ForwardSignature:
    """Gives a module the signature of its ``forward``, and leaves its class alone."""

    def __get__(self, module: Module | None, owner: type) -> inspect.Signature:
        if module is None:
            raise AttributeError("__signature__")
        return inspect.signature(module.forward)


class Module:
    """Base of all models and layers.

    A model is a subclass with parameters, buffers and modules as attributes, and a
    ``forward``. Calling the model runs ``forward`` within a scope of its name, so that
    pictures fold by layer and errors name the layer by its path.

    Example
    -------
    ::

        class Net(nn.Module):
            def __init__(self):
                self.fc1 = nn.Linear(784, 100)
                self.fc2 = nn.Linear(100, 10)

            def forward(self, x):
                return self.fc2(nn.functional.relu(self.fc1(x)))

    A compiled function is traced again when an attribute of a module that it calls has
    changed since: ``model.eval()``, ``model.drop.p = 0.2``, ``model.fc2 = nn.Linear(100, 3)``.

    Raises
    ------
    MinigradError
        If a plain list, tuple or dict with modules or parameters in it is assigned to an
        attribute: they would be overlooked. ``nn.ModuleList`` and ``nn.ModuleDict`` are not.
    """

    _info: Info
    __signature__: Any = _ForwardSignature()

    #: Whether calls pass by this module, as with ``ModuleList``: its children carry its name.
    _is_transparent: ClassVar[bool] = False

    #: Whether its own parameters scale and shift what it normalised: penalties and weight
    #: decay pass them over, whatever their number of axes.
    is_normalisation: ClassVar[bool] = False

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make a module that can take attributes, whether or not ``__init__`` calls ours."""
        self = object.__new__(cls)
        object.__setattr__(self, "_info", Info())
        return self

    # Running ------------------------------------------------------------------------

    def forward(self, *_: Any, **__: Any) -> Any:
        """Compute the result; to be defined by the subclass."""
        raise MinigradError(
            f"{type(self).__name__} has no forward method",
            fix="define `def forward(self, x):` in the class",
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` in the scope of this layer."""
        self._guard()
        with scope(self._label):
            try:
                out = self.forward(*args, **kwargs)
            except MinigradError as error:
                error.layer = error.layer or self._title  # the innermost one names it
                raise
        note_call(self, out)
        return out

    def _guard(self) -> None:
        """While tracing, note that the trace depends on this module's attributes."""
        if recorder.tape is not None:
            source = self._info.original or self
            guarded(source, "_configuration", source._configuration)

    @property
    def _configuration(self) -> tuple[Any, ...]:
        """The attributes as they are, for comparison: a trace is valid while they stay."""
        info = self._info
        if info.configuration is None:
            info.configuration = tuple(
                (name, comparable(value))
                for name, value in vars(self).items()
                if name != "_info" and name not in info.passing
            )
        return info.configuration

    @property
    def training(self) -> bool:
        """Whether the module is in training mode, as opposed to evaluation."""
        source = self._info.original or self
        guarded(source, "training", source._info.training)
        return self._info.training

    @training.setter
    def training(self, mode: bool) -> None:
        self._info.training = bool(mode)
        changes.note()

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in all sub-modules, and return the module."""
        for module in self.modules():
            module._info.training = bool(mode)
        changes.note()
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in all sub-modules, and return the module."""
        return self.train(False)

    # Names --------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        local, kind = self._info.local, type(self).__name__
        return f"{local}:{kind}" if local else kind

    @property
    def _title(self) -> str:
        """The path in the model and what the module is: ``model.fc1 (Linear 784 -> 100)``."""
        path, brief = self._info.path, self._brief()
        return f"model.{path} ({brief})" if path else brief

    def _brief(self) -> str:
        """Return the kind and the sizes, for error messages."""
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return the module's settings, to be shown in ``repr``."""
        return ""

    def __setattr__(self, name: str, value: Any) -> None:
        info = self._info
        role = role_of(value, Module)
        if role is None and value is not None:
            if isinstance(value, Tensor) and info.roles.get(name) in ("parameter", "buffer"):
                raise MinigradError(
                    f"{self._title}: {name} is a {info.roles[name]}, a tensor cannot replace it",
                    fix=f".{name}.assign(value) changes its value; mg.Parameter(value) is a new "
                    "parameter",
                )
            refuse_plain_container(self, name, value, Module)
        object.__setattr__(self, name, value)
        if role is not None:
            info.roles[name] = role
        elif value is not None:
            info.roles.pop(name, None)
        info.configuration = None
        changes.note()
        if recorder.tape is not None:
            info.passing.add(name)
        if isinstance(value, Module):
            value._settle(self, name)
        elif role is not None:
            name_cell(self, value, join(info.path, name))

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._info.roles.pop(name, None)
        self._info.configuration = None
        changes.note()

    def _settle(self, home: Module, key: str) -> None:
        """Take the name that the home gives; a module that is held twice keeps the first one."""
        info = self._info
        before = home_of(self)
        if before is not None and vars(before).get(info.key) is self:
            return
        if any(module is self for module in line_of(home)):
            return  # a module that knows the one above it
        info.home, info.key = weakref.ref(home), key
        self._relabel()

    def _relabel(self) -> None:
        """Work out the names of this module, of its cells and of all below, from the home's."""
        info, home = self._info, home_of(self)
        if home is not None:
            info.path = join(home._info.path, info.key)
            info.local = join(home._info.local if home._is_transparent else "", info.key)
        for name, value in self._slots():
            if not isinstance(value, Module):
                name_cell(self, value, join(info.path, name))
            elif home_of(value) is self and value._info.key == name:
                value._relabel()

    # What is in it ------------------------------------------------------------------

    def _slots(self, *roles: str) -> Iterator[tuple[str, Any]]:
        """Iterate over the attributes that are cells or modules, in the order of assignment."""
        attributes = vars(self)
        for name, role in list(self._info.roles.items()):
            value = attributes.get(name)
            if value is not None and (not roles or role in roles):
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the modules held by attributes, with their names."""
        yield from self._slots("module")

    def children(self) -> Iterator[Module]:
        """Iterate over the modules held by attributes."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Iterate over this module and all below, with their paths; a shared one comes once."""
        seen: set[int] = set()
        todo: list[tuple[str, Module]] = [(prefix, self)]
        while todo:
            path, module = todo.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            for name, value in vars(module).items():
                refuse_plain_container(module, name, value, Module)
            yield path, module
            below = [(join(path, name), child) for name, child in module._slots("module")]
            todo += reversed(below)

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all below it."""
        return (module for _, module in self.named_modules())

    def _named(self, role: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, cell in module._slots(role):
                if id(cell) not in seen:
                    seen.add(id(cell))
                    yield join(path, name), cell

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Iterate over all parameters with their paths; a shared (tied) one comes once."""
        return self._named("parameter", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Iterate over all parameters."""
        return (parameter for _, parameter in self.named_parameters("", recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """Iterate over all buffers with their paths."""
        return self._named("buffer", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Iterate over all buffers."""
        return (buffer for _, buffer in self.named_buffers("", recurse))

    # State --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Cell]:
        """Return all parameters and buffers by path. These are the cells, not copies.

        A shared (tied) parameter is listed under each of its paths.
        """
        found: dict[str, Cell] = {}
        self._collect("", found, ())
        return found

    def _collect(self, path: str, found: dict[str, Cell], above: tuple[Module, ...]) -> None:
        if any(module is self for module in above):
            return
        for name, cell in (*self._slots("parameter"), *self._slots("buffer")):
            found[join(path, name)] = cell
        for name, child in self.named_children():
            child._collect(join(path, name), found, (*above, self))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Set all parameters and buffers from arrays, tensors or cells by path.

        Everything is checked first: either all is loaded, or nothing.

        Parameters
        ----------
        state_dict
            As from ``state_dict()``, of this model or an equal one.
        strict
            Whether the names must be the same. If not, missing and unexpected ones are
            returned; shapes and dtypes must fit all the same.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes differ; the message lists every difference.
        """
        return load_cells(self._title, self.state_dict(), state_dict, strict)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters (False) or let them be trained (True), and return the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every sub-module, then on this one, and return the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, target: Any) -> Self:
        """Move all parameters and buffers to a device, or convert the floating ones.

        Parameters
        ----------
        target
            ``"cpu"``, ``"cupy"``, or a floating dtype.

        Raises
        ------
        DtypeError
            If ``target`` is a dtype that is not floating.
        BackendUnavailable
            If the device cannot be used here.
        """
        moves: list[tuple[Cell, Tensor]] = []
        for cell in {id(c): c for c in self.state_dict().values()}.values():
            moved = to(Tensor(cell.leaf), target)
            if moved.dtype != cell.dtype and kind_of(cell.dtype) != "f":
                continue
            if kind_of(moved.dtype) != kind_of(cell.dtype):
                raise DtypeError(
                    f"{self._title}: parameters cannot be {moved.dtype}",
                    fix="choose mg.float32 or mg.float64",
                )
            moves.append((cell, moved))
        for cell, moved in moves:
            cell.load(moved.value)
            if isinstance(cell, Parameter) and cell.grad is not None:
                cell.grad = to(cell.grad, target)
        return self

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all floating parameters and buffers to ``dtype``, and return the module."""
        return self.to(as_dtype(dtype))

    def float32(self) -> Self:
        """Convert all floating parameters and buffers to float32, and return the module."""
        return self.to(float32)

    def float64(self) -> Self:
        """Convert all floating parameters and buffers to float64, and return the module."""
        return self.to(float64)

    def __getstate__(self) -> dict[str, Any]:
        info = self._info
        kept = Info(dict(info.roles), info.training, info.path, info.local, info.key)
        return {**vars(self), "_info": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name, child in self.named_children():
            if home_of(child) is None and child._info.key == name:
                child._info.home = weakref.ref(self)

    # Display ------------------------------------------------------------------------

    def summary(self, *example_args: Any) -> Summary:
        """Return a table: a row per layer with its parameters, and the totals.

        Parameters
        ----------
        example_args
            Arguments of ``forward``, as arrays or as ``mg.spec(shape)``. With them the
            table has output shapes and numbers of operations too. Nothing is computed,
            and no state changes.
        """
        return summarise(self, example_args)

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        extra, kind = self.extra_repr(), type(self).__name__
        if not lines:
            return f"{kind}({extra})"
        return "\n  ".join([f"{kind}({extra}", *lines]) + "\n)"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]
