"""Parameter groups: which parameters an optimiser changes, and with which numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from types import SimpleNamespace
from typing import Any, TypeAlias

from minigrad.changes import changes
from minigrad.core.door import module_of
from minigrad.core.late import call
from minigrad.core.state import Buffer, Cell, Parameter
from minigrad.core.tape import guarded, recorder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DType, float64, wide
from minigrad.errors import DataError

__all__ = [
    "Group", "Named", "as_groups", "chosen", "decay_groups", "is_weight", "listed",
    "named_parameters", "require", "working_dtype",
]  # fmt: skip

Named: TypeAlias = tuple[str | None, Parameter]
Check: TypeAlias = Callable[[dict[str, Any]], None]
Moments: TypeAlias = Callable[[dict[str, Any]], Sequence[str]]


def require(holds: bool, message: str, fix: str | None = None) -> None:
    """Raise DataError unless a number is in its range."""
    if not holds:
        raise DataError(message, fix=fix)


def working_dtype(dtype: DType) -> DType:
    """Return the dtype of moments and updates: float32 for a half type, which would underflow."""
    return wide(dtype)


def _state(shape: tuple[int, ...], dtype: DType, beside: Parameter, name: str) -> Buffer:
    """Return zeros on the device of a parameter."""
    return Buffer(module_of(beside.leaf.value).zeros(shape, dtype), name)


class Group:
    """Parameters that share their options. Read and set these as items: ``group["lr"]``.

    The learning rate is a state cell: at the prompt it reads as a Python float and can be
    set at any time; a compiled step reads the new value without being traced again. The
    other options are plain numbers, and a compiled step that depends on one is traced
    again when it was changed.
    """

    __slots__ = (
        "__weakref__", "_check", "_cycled", "_moments_of", "_options", "initial_lr", "lr_cell",
        "moments", "names", "params", "step",
    )  # fmt: skip

    def __init__(
        self,
        named: Sequence[tuple[str, Parameter]],
        lr: float,
        options: dict[str, Any],
        check: Check,
        moments_of: Moments,
    ) -> None:
        self.names = tuple(name for name, _ in named)
        self.params = tuple(parameter for _, parameter in named)
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        self._options = SimpleNamespace(**options)
        self._check, self._moments_of = check, moments_of
        #: Options that a schedule changes in every step: cells, like the learning rate.
        self._cycled: dict[str, Buffer] = {}
        check(options)
        self.lr_cell = _state((), float64, self.params[0], "lr")
        #: How many updates each parameter has had; one without a gradient is not counted.
        self.step = _state((len(self.params),), float64, self.params[0], "step")
        #: What schedules start from: the learning rate that the user set.
        self.initial_lr: float | None = None
        self.moments: tuple[dict[str, Buffer], ...] = tuple({} for _ in self.params)
        self["lr"] = lr
        self._allocate()

    def _allocate(self) -> None:
        """Make the moments that the options ask for and that are not there yet."""
        for moment in self._moments_of(vars(self._options)):
            for name, p, moments in zip(self.names, self.params, self.moments, strict=True):
                if moment not in moments:
                    kind = working_dtype(p.dtype)
                    moments[moment] = _state(p.shape, kind, p, f"{name}.{moment}")

    def __getitem__(self, option: str) -> Any:
        if option == "lr":
            return _now(self.lr_cell)
        if option == "params":
            return list(self.params)
        self._known(option)
        value = getattr(self._options, option)
        if option in self._cycled:
            first = _now(self._cycled[option])
            return (first, *guarded(self, "beta2", self.beta2)) if option == "betas" else first
        return guarded(self._options, option, value)

    def __setitem__(self, option: str, value: Any) -> None:
        if option == "lr":
            self.initial_lr = None
            self.set_lr(value)
            return
        self._known(option)
        value = tuple(value) if isinstance(value, list) else value
        self._check({**vars(self._options), option: value})
        setattr(self._options, option, value)
        changes.note()
        if option in self._cycled:
            _put(self._cycled[option], value[0] if option == "betas" else value)
        self._allocate()

    def set_lr(self, lr: Any) -> None:
        """Set the learning rate as a schedule does: ``initial_lr`` stays."""
        if not isinstance(lr, Tensor):
            require(isfinite(lr) and lr >= 0, f"lr = {lr} is not a learning rate", "lr >= 0")
        _put(self.lr_cell, lr)

    @property
    def beta2(self) -> tuple[float, ...]:
        """The betas that no schedule changes."""
        return getattr(self._options, "betas", ())[1:]

    def cycle(self, option: str, value: float) -> None:
        """Set an option (of the betas, the first) that changes in every step, like ``lr``.

        It becomes a state cell. The plain number is set as well, so that a compiled step
        that was traced with it is traced again.
        """
        if option not in self._cycled:
            self._cycled[option] = _state((), float64, self.params[0], option)
        self[option] = (value, *self.beta2) if option == "betas" else value

    def _known(self, option: str) -> None:
        if option not in vars(self._options):
            names = ", ".join(("lr", *vars(self._options)))
            raise DataError(f"there is no option {option!r}", rule=f"options: {names}")

    @property
    def options(self) -> dict[str, Any]:
        """All options but the learning rate, as they read now."""
        return {name: self[name] for name in vars(self._options)}

    def cells(self, prefix: str) -> dict[str, Cell]:
        """Return every state cell by name."""
        found: dict[str, Cell] = {f"{prefix}.lr": self.lr_cell, f"{prefix}.step": self.step}
        found |= {f"{prefix}.{name}": cell for name, cell in self._cycled.items()}
        for name, moments in zip(self.names, self.moments, strict=True):
            found |= {f"state.{name}.{moment}": cell for moment, cell in moments.items()}
        return found

    def follow(self) -> None:
        """Move the state to the device of the parameters, if these were moved."""
        pairs = [(self.params[0], c) for c in (self.lr_cell, self.step, *self._cycled.values())]
        for parameter, moments in zip(self.params, self.moments, strict=True):
            pairs += [(parameter, cell) for cell in moments.values()]
        for parameter, cell in pairs:
            library = module_of(parameter.leaf.value)
            if module_of(cell.leaf.value) is not library:
                cell.load(call("move", cell.leaf.value, library.__name__))


def _now(cell: Buffer) -> Any:
    """Return a scalar cell as a number, or while tracing as a tensor."""
    return cell if recorder.tape is not None else cell.item()


def _put(cell: Buffer, value: Any) -> None:
    """Set a scalar cell: at the prompt its array is replaced, in a trace it is assigned."""
    if isinstance(value, Tensor):
        cell.assign(value)
    elif recorder.tape is not None:
        cell.assign(float(value))
    else:
        cell.load(module_of(cell.leaf.value).asarray(float(value), float64))


def listed(params: Any, what: str) -> list[Any]:
    """Return the entries of an iterable of parameters, or say what to pass instead."""
    if callable(getattr(params, "parameters", None)):
        name = type(params).__name__
        raise DataError(
            f"{what}: got a module ({name}) where its parameters are needed",
            fix="pass model.parameters(), or model.named_parameters()",
        )
    if isinstance(params, dict):
        raise DataError(
            f"{what}: got a dict of parameters",
            fix='pass params.items(), or a list of groups [{"params": ..., "lr": ...}]',
        )
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise DataError(
            f"{what}: got a single {type(params).__name__}", fix="pass a list: [parameter]"
        )
    found = list(params)
    if not found:
        raise DataError(
            f"{what}: got no parameters",
            fix="is the model empty, or was the iterator used before? Call model.parameters() anew",
        )
    return found


def named_parameters(params: Any, what: str) -> list[Named]:
    """Return pairs of a name (None if it has none) and a Parameter."""
    found: list[Named] = []
    for entry in listed(params, what):
        named = isinstance(entry, tuple) and len(entry) == 2
        name, parameter = entry if named else (None, entry)
        if not isinstance(parameter, Parameter):
            raise DataError(
                f"{what}: got a {type(parameter).__name__} where a Parameter is needed",
                fix="make it with mg.Parameter(data); an optimiser cannot change another tensor",
            )
        found.append((name, parameter))
    return found


def as_groups(params: Any, what: str) -> list[tuple[list[tuple[str, Parameter]], dict[str, Any]]]:
    """Return the named parameters of each group with the options that the group sets.

    A parameter is called by the name that was passed with it, or by its own, or, when these
    are missing or not unique, by its position.
    """
    entries = listed(params, what)
    if not any(isinstance(entry, dict) for entry in entries):
        entries = [{"params": entries}]
    groups: list[tuple[list[Named], dict[str, Any]]] = []
    for entry in entries:
        if not isinstance(entry, dict) or "params" not in entry:
            raise DataError(
                f"{what}: groups and single parameters are mixed, or a group has no 'params'",
                fix='pass [{"params": [...], "lr": ...}, {"params": [...]}]',
            )
        options = {key: value for key, value in entry.items() if key != "params"}
        groups.append((named_parameters(entry["params"], what), options))
    flat = [pair for named, _ in groups for pair in named]
    if len({id(p) for _, p in flat}) != len(flat):
        raise DataError(f"{what}: a parameter is passed twice", fix="name each parameter once")
    names = iter(_names(flat, what))
    return [([(next(names), p) for _, p in named], options) for named, options in groups]


def _names(pairs: Sequence[Named], what: str) -> list[str]:
    own = [name or p.name for name, p in pairs]
    if None in own or len(set(own)) != len(own):
        own = [name or str(i) for i, (name, _) in enumerate(pairs)]
    names = [str(name) for name in own]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{what}: two parameters are called {twice!r}", fix="name each differently")
    return names


def is_weight(name: str, parameter: Tensor) -> bool:  # noqa: ARG001
    """Whether this is a weight: 2 axes or more, so no bias."""
    return parameter.ndim >= 2


def chosen(
    source: Any, what: str, wanted: Callable[[str, Parameter], bool] | None
) -> list[tuple[Named, bool]]:
    """Return parameters with their names, and whether each is wanted.

    Without ``wanted``: weights are, except those by which a normalisation of the module
    ``source`` scales (gamma has two axes after LayerNorm over two).
    """
    scales: set[int] = set()
    if callable(getattr(source, "modules", None)):
        for module in source.modules():
            if module.is_normalisation:
                scales |= {id(p) for p in module.parameters(recurse=False)}
    if callable(getattr(source, "named_parameters", None)):
        source = source.named_parameters()
    found = []
    for name, p in named_parameters(source, what):
        called = name or p.name
        if wanted is None:
            found.append(((called, p), is_weight(called or "", p) and id(p) not in scales))
        else:
            found.append(((called, p), bool(wanted(called or "", p))))
    return found


def decay_groups(
    model: Any, weight_decay: float, decay: Callable[[str, Parameter], bool] | None = None
) -> list[dict[str, Any]]:
    """Return two groups for an optimiser: with weight decay, and without.

    Parameters
    ----------
    model
        A module, or an iterable of parameters or of pairs (name, parameter).
    weight_decay
        The factor for the parameters that are to decay.
    decay
        ``decay(name, parameter)`` says whether one is. The default leaves out whatever has
        fewer than 2 axes, biases for one, and, if ``model`` is a module, gamma and beta of
        its normalisations.

    Example
    -------
    ``mg.optim.AdamW(mg.optim.decay_groups(model, 0.01), lr=1e-3)``
    """
    split: tuple[list[Any], list[Any]] = [], []
    for (name, p), decays in chosen(model, "decay_groups", decay):
        split[0 if decays else 1].append((name, p) if name else p)
    found = zip(split, (weight_decay, 0.0), strict=True)
    return [{"params": params, "weight_decay": factor} for params, factor in found if params]
