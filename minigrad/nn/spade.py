"""SPADE: normalisation whose scale and shift are drawn by a map of labels."""

from __future__ import annotations

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike
from minigrad.errors import ShapeError
from minigrad.ops.composed import tag
from minigrad.ops.kinds import ArrayLike

from . import functional, init
from .batch_norm import BatchNorm
from .convolution import Conv2d
from .dense import check_sizes
from .functional.conditional import resize_nearest
from .module import Module

__all__ = ["SPADE"]


class SPADE(Module):
    """Normalise, then scale and shift each pixel by convolutions of a segmentation map.

    Formula
    -------
    ``y = gamma(s) u + beta(s)``, with ``u = (x - mu) / sqrt(var + eps)`` as in BatchNorm without
    parameters, ``h = relu(conv(s))``, ``gamma(s) = conv(h)`` and ``beta(s) = conv(h)``. The bias
    of the convolution for gamma starts at 1, so that y starts near u.

    Shapes
    ------
    ``input`` x (N, C, H, W), ``segmap`` s (N, label_channels, H', W'), which is brought to (H, W)
    by taking the nearest pixel; the result has the shape of ``input``

    Parameters
    ----------
    num_features
        C, the number of channels.
    label_channels
        The channels of the map: the number of classes, if it is one-hot.
    hidden
        The channels of h.
    kernel_size
        Of the three convolutions; odd, so that the size stays.
    eps
        Added to the variance; in the unit of x squared.
    norm
        The normalisation, without parameters; by default ``nn.BatchNorm(num_features,
        affine=False)``. ``nn.SyncBatchNorm`` and ``nn.InstanceNorm`` are usual too.
    dtype
        Of the parameters; the default floating dtype if None.

    Raises
    ------
    ShapeError
        If channels or batch do not fit.

    Source
    ------
    Park and others, 2019. Catalogue row D8.
    """

    def __init__(
        self,
        num_features: int,
        label_channels: int,
        hidden: int = 128,
        kernel_size: int = 3,
        eps: float = 1e-5,
        norm: Module | None = None,
        dtype: DTypeLike = None,
    ) -> None:
        check_sizes("SPADE", label_channels=label_channels, hidden=hidden, kernel_size=kernel_size)
        self.num_features = num_features
        self.label_channels = label_channels
        self.norm = norm or BatchNorm(num_features, eps, affine=False, dtype=dtype)
        k = kernel_size
        self.shared = Conv2d(label_channels, hidden, k, padding="same", dtype=dtype)
        self.gamma = Conv2d(hidden, num_features, k, padding="same", dtype=dtype)
        self.beta = Conv2d(hidden, num_features, k, padding="same", dtype=dtype)
        init.ones(self.gamma.bias)

    def forward(self, input: ArrayLike, segmap: ArrayLike) -> Tensor:
        """Return x normalised, then scaled and shifted pixel by pixel."""
        x, s = as_tensor(input), as_tensor(segmap)
        if x.ndim != 4 or s.ndim != 4 or s.shape[:2] != (x.shape[0], self.label_channels):
            raise ShapeError(
                f"{self._title}: a map of shape {s.shape} does not fit an input of shape {x.shape}",
                operands=[x.node.describe(), s.node.describe()],
                rule=f"input (N, {self.num_features}, H, W), segmap (N, {self.label_channels}, "
                "H', W')",
                fix="labels need one channel a class: mg.nn.functional.one_hot, channels to axis 1",
            )
        u: Tensor = self.norm(x)
        h = functional.relu(self.shared(resize_nearest(s, x.shape[2:])))
        return u * tag(self.gamma(h), "gamma") + tag(self.beta(h), "beta")

    def _brief(self) -> str:
        return f"SPADE {self.num_features} from {self.label_channels}"

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.num_features}, label_channels={self.label_channels}"
