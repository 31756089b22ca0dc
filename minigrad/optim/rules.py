"""The optimisers themselves, with the formulas, keyword names and order of PyTorch.

In all of them w is the parameter, g its gradient and lr the learning rate. Betas and
the like are read with ``group[...]``: a compiled step is traced again when one changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minigrad.core.door import as_tensor, full, module_of
from minigrad.core.state import Buffer
from minigrad.core.tensor import Tensor
from minigrad.dtypes import float64
from minigrad.ops import equal, maximum, sqrt, where

from .groups import Group, require
from .optimiser import Optimiser, adopt, check_decay

__all__ = ["SGD", "Adam", "AdamW", "RMSProp"]


def _with_penalty(group: Group, w: Tensor, g: Tensor) -> Tensor:
    """Return the gradient of J + (weight_decay / 2) ||w||^2."""
    decay = group["weight_decay"]
    return g + w * decay if decay else g


def _fraction(name: str, value: Any) -> None:
    require(0 <= value < 1, f"{name} = {value} is out of range", "0 <= value < 1")


class SGD(Optimiser):
    r"""Stochastic gradient descent, with momentum if asked for.

    .. math:: g \leftarrow g + \lambda w, \quad b \leftarrow \mu b + (1 - \tau) g, \quad
       w \leftarrow w - lr \cdot (g + \mu b \text{ if nesterov, else } b)

    The first b is g itself. Without momentum, ``w - lr * g``.

    Parameters
    ----------
    params
        Parameters, pairs (name, parameter), or groups ``{"params": ..., "lr": ...}``.
    lr, momentum, dampening
        Learning rate, and the letters mu and tau of the formula.
    weight_decay
        Lambda, the L2 penalty added to the gradient. Under plain SGD it is the same as
        ``w <- (1 - lr * weight_decay) w - lr * g`` (catalogue row G2).
    nesterov
        Look ahead along the momentum; needs momentum and no dampening.

    Source: Sutskever and others, 2013; catalogue row H.
    """

    __slots__ = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = {
            "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov,
        }  # fmt: skip
        super().__init__(params, lr, options)

    @staticmethod
    def check(options: dict[str, Any]) -> None:
        """Raise DataError if an option is out of its range."""
        check_decay(options)
        momentum, dampening = options["momentum"], options["dampening"]
        require(momentum >= 0, f"momentum = {momentum} is negative")
        require(
            not options["nesterov"] or (momentum > 0 and dampening == 0),
            f"nesterov needs momentum and no dampening, got {momentum} and {dampening}",
            "set momentum=0.9, dampening=0",
        )

    @staticmethod
    def moments_of(options: dict[str, Any]) -> Sequence[str]:
        """Return the names of the state that each parameter needs."""
        return ("momentum_buffer",) if options["momentum"] else ()

    def prepare(self, group: Group, count: Tensor) -> tuple[Tensor, ...]:
        """Return the factor of the gradient in the momentum: 1 in the first step."""
        dampening = group["dampening"]
        if not dampening:
            return ()
        one = full(1.0, count.shape, float64, module_of(count.node.value))
        return (where(equal(count, 1.0), one, 1.0 - dampening),)

    def update(
        self,
        group: Group,
        moments: Mapping[str, Buffer],
        w: Tensor,
        g: Tensor,
        lr: Tensor,
        *prepared: Tensor,
    ) -> Tensor:
        """Return the new parameter and assign the momentum."""
        g = _with_penalty(group, w, g)
        momentum = group["momentum"]
        if isinstance(momentum, Tensor) or momentum:
            momentum = adopt(momentum, w.dtype)
            b: Tensor = moments["momentum_buffer"] * momentum + (g * prepared[0] if prepared else g)
            moments["momentum_buffer"].assign(b)
            g = g + b * momentum if group["nesterov"] else b
        return w - g * lr


def _check_betas(options: Mapping[str, Any]) -> None:
    betas, eps = options["betas"], options["eps"]
    require(len(betas) == 2, f"betas = {betas} are not two numbers", "betas=(0.9, 0.999)")
    for beta in betas:
        _fraction("a beta", beta)
    require(eps >= 0, f"eps = {eps} is negative")
    check_decay(options)


def _corrections(group: Group, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return lr / (1 - beta1^t) and sqrt(1 - beta2^t) for each parameter."""
    beta1, beta2 = group["betas"]
    return group.lr_cell / (1.0 - beta1**count), sqrt(1.0 - beta2**count)


def _adam(
    group: Group, moments: Mapping[str, Buffer], w: Tensor, g: Tensor, alpha: Tensor, root: Tensor
) -> Tensor:
    beta1, beta2 = group["betas"]
    m: Tensor = moments["exp_avg"] * adopt(beta1, w.dtype) + g * adopt(1.0 - beta1, w.dtype)
    v: Tensor = moments["exp_avg_sq"] * beta2 + g * g * (1.0 - beta2)
    moments["exp_avg"].assign(m)
    moments["exp_avg_sq"].assign(v)
    eps: float = group["eps"]
    return w - m / (sqrt(v) / root + eps) * alpha


class Adam(Optimiser):
    r"""Adam: steps scaled by running moments of the gradient.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
       v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
       w \leftarrow w - \frac{lr}{1 - \beta_1^t} \cdot
       \frac{m}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \epsilon}

    ``weight_decay`` is an L2 penalty: it is added to the gradient, and scaled with it. For
    decay proper see ``AdamW``. t counts the updates of each parameter by itself.

    Parameters
    ----------
    params
        Parameters, pairs (name, parameter), or groups ``{"params": ..., "lr": ...}``.
    lr, betas, eps, weight_decay
        The letters of the formula.

    Source: Kingma and Ba, 2015.
    """

    __slots__ = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, lr, options)

    @staticmethod
    def check(options: dict[str, Any]) -> None:
        """Raise DataError if an option is out of its range."""
        _check_betas(options)

    @staticmethod
    def moments_of(options: dict[str, Any]) -> Sequence[str]:  # noqa: ARG004
        """Return the names of the state that each parameter needs."""
        return ("exp_avg", "exp_avg_sq")

    def prepare(self, group: Group, count: Tensor) -> tuple[Tensor, ...]:
        """Return the corrected learning rate, and the correction of the second moment."""
        return _corrections(group, count)

    def update(
        self,
        group: Group,
        moments: Mapping[str, Buffer],
        w: Tensor,
        g: Tensor,
        lr: Tensor,  # noqa: ARG002
        *prepared: Tensor,
    ) -> Tensor:
        """Return the new parameter and assign the moments."""
        return _adam(group, moments, w, _with_penalty(group, w, g), *prepared)


class AdamW(Optimiser):
    r"""Adam with decoupled weight decay: first ``w <- (1 - lr * weight_decay) w``, then Adam.

    Parameters
    ----------
    params
        Parameters, pairs (name, parameter), or groups; ``mg.optim.decay_groups`` makes two
        groups, so that biases and the parameters of normalisations do not decay.
    lr, betas, eps, weight_decay
        As in ``Adam``; the decay does not pass through the moments.

    Source: Loshchilov and Hutter, 2019; catalogue row G2.
    """

    __slots__ = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        options = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, lr, options)

    @staticmethod
    def check(options: dict[str, Any]) -> None:
        """Raise DataError if an option is out of its range."""
        _check_betas(options)

    @staticmethod
    def moments_of(options: dict[str, Any]) -> Sequence[str]:  # noqa: ARG004
        """Return the names of the state that each parameter needs."""
        return ("exp_avg", "exp_avg_sq")

    def prepare(self, group: Group, count: Tensor) -> tuple[Tensor, ...]:
        """Return what Adam needs, and the factor by which weights decay."""
        keep = 1.0 - group.lr_cell * group["weight_decay"]
        return (*_corrections(group, count), as_tensor(keep))

    def update(
        self,
        group: Group,
        moments: Mapping[str, Buffer],
        w: Tensor,
        g: Tensor,
        lr: Tensor,  # noqa: ARG002
        *prepared: Tensor,
    ) -> Tensor:
        """Return the new parameter and assign the moments."""
        alpha, root, keep = prepared
        return _adam(group, moments, w * keep if group["weight_decay"] else w, g, alpha, root)


class RMSProp(Optimiser):
    r"""Gradients divided by a running root mean square.

    .. math:: v \leftarrow \alpha v + (1 - \alpha) g^2, \quad
       b \leftarrow \mu b + \frac{g}{\sqrt{v} + \epsilon}, \quad w \leftarrow w - lr \cdot b

    With ``centered`` the running mean's square is taken from v, which makes it a variance;
    rounding below 0 is cut off.

    Parameters
    ----------
    params
        Parameters, pairs (name, parameter), or groups ``{"params": ..., "lr": ...}``.
    lr, alpha, eps, momentum
        The letters of the formula; momentum is mu.
    weight_decay
        An L2 penalty, added to the gradient.
    centered
        Divide by the standard deviation instead.

    Source: Tieleman and Hinton, 2012; centred: Graves, 2013.
    """

    __slots__ = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {
            "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered,
        }  # fmt: skip
        super().__init__(params, lr, options)

    @staticmethod
    def check(options: dict[str, Any]) -> None:
        """Raise DataError if an option is out of its range."""
        check_decay(options)
        _fraction("alpha", options["alpha"])
        require(options["eps"] >= 0, f"eps = {options['eps']} is negative")
        require(options["momentum"] >= 0, f"momentum = {options['momentum']} is negative")

    @staticmethod
    def moments_of(options: dict[str, Any]) -> Sequence[str]:
        """Return the names of the state that each parameter needs."""
        found = ["square_avg"]
        found += ["grad_avg"] if options["centered"] else []
        return [*found, "momentum_buffer"] if options["momentum"] else found

    def update(
        self,
        group: Group,
        moments: Mapping[str, Buffer],
        w: Tensor,
        g: Tensor,
        lr: Tensor,
        *prepared: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the new parameter and assign the moments."""
        g = _with_penalty(group, w, g)
        alpha, momentum = group["alpha"], group["momentum"]
        v = moments["square_avg"] * alpha + g * g * (1.0 - alpha)
        moments["square_avg"].assign(v)
        if group["centered"]:
            mean = moments["grad_avg"] * alpha + g * (1.0 - alpha)
            moments["grad_avg"].assign(mean)
            v = maximum(v - mean * mean, 0.0)
        b: Tensor = g / (sqrt(v) + group["eps"])
        if isinstance(momentum, Tensor) or momentum:
            b = moments["momentum_buffer"] * adopt(momentum, w.dtype) + b
            moments["momentum_buffer"].assign(b)
        return w - b * lr
