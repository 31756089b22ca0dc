"""Images as they might also have been: random flips, crops, rotations, colours, noise.

Each is drawn anew for every image of a batch, from the engine's own generator: the same seed
gives the same images at the prompt, in a compiled step and on every backend. Only images are
touched; labels stay what they are. Catalogue row G7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi
from typing import Any, TypeAlias, TypeVar

import numpy as np

from minigrad.core.door import as_tensor, cast
from minigrad.core.tape import no_grad, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, float32, int64, kind_of
from minigrad.errors import DataError, DtypeError, ShapeError
from minigrad.ops import arange, astype, clip, cos, flip, floor, mean, pad, reshape, sin, where
from minigrad.ops.creation import iota
from minigrad.ops.random import Generator, bernoulli, normal, randint, uniform

from .order import fresh_seed

__all__ = ["Augment", "ColourJitter", "Crop", "Flip", "Noise", "Rotate", "Shift", "Transform"]

X = TypeVar("X", Array, Tensor)

#: Takes images (m, C, h, w) and a generator, and returns images.
Transform: TypeAlias = Callable[[Tensor, Generator], Tensor]

_GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue look (ITU-R BT.601)


def _require(holds: bool, message: str, rule: str) -> None:
    if not holds:
        raise DataError(message, rule=rule)


def _pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at these places, given as indices that broadcast to (m, C, h, w)."""
    m, c = x.shape[:2]
    return x[iota((m, 1, 1, 1), 0), iota((1, c, 1, 1), 1), rows, columns]


def _drawn(low: float, high: float, x: Tensor, generator: Generator) -> Tensor:
    """Return one number for each image, (m, 1, 1, 1), the same for every dtype of x."""
    drawn = uniform((x.shape[0], 1, 1, 1), low, high, dtype=float32, generator=generator)
    return cast(drawn, x.dtype)


def _piece(x: Tensor, around: int, height: int, width: int, generator: Generator) -> Tensor:
    """Return a piece of each image, from a random place, after padding with 0."""
    padded = pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
    m, _, h, w = padded.shape
    top = randint(h - height + 1, shape=(m, 1, 1, 1), generator=generator)
    left = randint(w - width + 1, shape=(m, 1, 1, 1), generator=generator)
    rows = top + reshape(arange(height, dtype=int64), (-1, 1))
    return _pixels(padded, rows, left + arange(width, dtype=int64))


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror an image with probability ``p``: left to right, or upside down with ``axis=-2``."""

    p: float = 0.5
    axis: int = -1

    def __post_init__(self) -> None:
        _require(0 <= self.p <= 1, f"Flip: p = {self.p} is not a probability", "from 0 to 1")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the images, some of them mirrored."""
        flipped = bernoulli(self.p, (x.shape[0], 1, 1, 1), generator=generator)
        return where(flipped, flip(x, axis=self.axis), x)


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut out ``size`` by ``size`` pixels at a random place, after ``padding`` with 0 around."""

    size: int
    padding: int = 0

    def __post_init__(self) -> None:
        sizes = f"Crop: size = {self.size}, padding = {self.padding}"
        _require(self.size > 0 and self.padding >= 0, sizes, "a positive size, padding from 0")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the pieces, (m, C, size, size)."""
        _, _, h, w = x.shape
        if self.size > min(h, w) + 2 * self.padding:
            raise ShapeError(
                f"Crop: a piece of {self.size} by {self.size} pixels from {h} by {w}",
                operands=[x.node.describe()],
                rule="size is at most h + 2 padding and w + 2 padding",
            )
        return _piece(x, self.padding, self.size, self.size, generator)


@dataclass(frozen=True, slots=True)
class Shift:
    """Move an image by up to ``most`` pixels in both directions; 0 comes in at the edges."""

    most: int

    def __post_init__(self) -> None:
        _require(self.most >= 0, f"Shift: most = {self.most} is negative", "pixels, from 0")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the images, moved."""
        return _piece(x, self.most, x.shape[2], x.shape[3], generator)


@dataclass(frozen=True, slots=True)
class Rotate:
    r"""Turn an image about its centre by an angle of up to ``degrees`` either way.

    A pixel of the result is interpolated between the four around the place that it came
    from; outside of the image is 0. In coordinates from the centre, for the angle t,

    .. math::
        \text{row} = r \cos t + c \sin t, \quad \text{column} = c \cos t - r \sin t

    so that a positive angle turns anticlockwise as one sees it.
    """

    degrees: float

    def __post_init__(self) -> None:
        _require(self.degrees >= 0, f"Rotate: degrees = {self.degrees} is negative", "from 0")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the images, turned."""
        most = self.degrees * pi / 180.0
        return rotated(x, _drawn(-most, most, x, generator))


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Return images turned by angles (m, 1, 1, 1) in radians; see ``Rotate``."""
    _, _, h, w = x.shape
    r = reshape(astype(arange(h), x.dtype) - (h - 1) / 2, (-1, 1))
    c = astype(arange(w), x.dtype) - (w - 1) / 2
    row = r * cos(angle) + c * sin(angle) + (h - 1) / 2
    column = c * cos(angle) - r * sin(angle) + (w - 1) / 2
    padded = pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))  # 0 all around, at 0 and at h + 1
    top, left = floor(row), floor(column)
    down, right = row - top, column - left
    rows = [astype(clip(top + 1 + i, 0, h + 1), int64) for i in (0, 1)]
    columns = [astype(clip(left + 1 + i, 0, w + 1), int64) for i in (0, 1)]
    upper = _pixels(padded, rows[0], columns[0]) * (1 - right)
    upper = upper + _pixels(padded, rows[0], columns[1]) * right
    lower = _pixels(padded, rows[1], columns[0]) * (1 - right)
    lower = lower + _pixels(padded, rows[1], columns[1]) * right
    return upper * (1 - down) + lower * down


@dataclass(frozen=True, slots=True)
class ColourJitter:
    r"""Change brightness, contrast and saturation of an image, in this order.

    .. math::
        x \leftarrow f_b x, \quad x \leftarrow f_c x + (1 - f_c)\,\overline{g(x)}, \quad
        x \leftarrow f_s x + (1 - f_s)\, g(x)

    with g the grey of a pixel, a bar over it its mean over the image, and each f drawn from
    1 - strength to 1 + strength. After each change values are cut to the range from 0 to 1.

    Parameters
    ----------
    brightness, contrast, saturation
        Strengths, from 0 to 1. Saturation needs 3 channels: red, green, blue.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        strengths = (self.brightness, self.contrast, self.saturation)
        _require(
            all(0 <= s <= 1 for s in strengths), f"ColourJitter: strengths {strengths}",
            "each from 0 to 1",
        )  # fmt: skip

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the images, their colours changed."""
        if self.brightness:
            factor = _drawn(1 - self.brightness, 1 + self.brightness, x, generator)
            x = clip(x * factor, 0.0, 1.0)
        if self.contrast:
            factor = _drawn(1 - self.contrast, 1 + self.contrast, x, generator)
            pivot = mean(_grey(x), axis=(1, 2, 3), keepdims=True)
            x = clip(x * factor + pivot * (1 - factor), 0.0, 1.0)
        if self.saturation:
            if x.shape[1] != 3:
                raise ShapeError(
                    f"ColourJitter: saturation of images with {x.shape[1]} channels",
                    operands=[x.node.describe()],
                    rule="saturation needs 3 channels: red, green, blue",
                    fix="set saturation=0",
                )
            factor = _drawn(1 - self.saturation, 1 + self.saturation, x, generator)
            x = clip(x * factor + _grey(x) * (1 - factor), 0.0, 1.0)
        return x


def _grey(x: Tensor) -> Tensor:
    """Return how bright a pixel looks, (m, 1, h, w); without colours the mean of the channels."""
    if x.shape[1] != 3:
        return mean(x, axis=1, keepdims=True)
    red, green, blue = (x[:, i : i + 1] * weight for i, weight in enumerate(_GREY))
    return red + green + blue


@dataclass(frozen=True, slots=True)
class Noise:
    """Add normal noise of standard deviation ``std`` to every pixel."""

    std: float

    def __post_init__(self) -> None:
        _require(self.std >= 0, f"Noise: std = {self.std} is negative", "from 0")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the images with noise."""
        return x + normal(x.shape, 0.0, self.std, dtype=x.dtype, generator=generator)


class Augment:
    """Several changes, one after the other, with a generator of their own.

    Parameters
    ----------
    transforms
        ``Flip``, ``Crop``, ``Shift``, ``Rotate``, ``ColourJitter``, ``Noise``, or functions
        of images and a generator.
    seed
        Decides what is drawn. By default it comes from the generator that
        ``mg.random.seed`` governs.

    Raises
    ------
    ShapeError
        If the images are not (m, C, h, w).
    DtypeError
        If they are not floating.

    Example
    -------
    ::

        augment = mg.data.Augment(mg.data.Shift(2), mg.data.Rotate(10), seed=0)
        for x, y in batches:
            step(augment(x), y)

    It may also be called inside a compiled step, and is saved with ``mg.save``.
    """

    __slots__ = ("generator", "transforms")

    def __init__(self, *transforms: Transform, seed: int | None = None) -> None:
        self.transforms = transforms
        self.generator = Generator(fresh_seed() if seed is None else seed)

    def __call__(self, x: X) -> X:
        """Return images changed at random; arrays as arrays, tensors as tensors."""
        if isinstance(x, Tensor):
            return self._changed(x)
        with no_grad():
            return self._changed(as_tensor(np.asarray(x))).numpy()

    def _changed(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ShapeError(
                f"Augment: images of shape {x.shape}",
                operands=[x.node.describe()],
                rule="images are (m, C, h, w)",
                fix="mg.data.digits(flat=False) gives such images; x.reshape((-1, 1, 8, 8))",
            )
        if kind_of(x.dtype) != "f":
            raise DtypeError(
                f"Augment: images are {x.dtype}",
                operands=[x.node.describe()],
                fix="divide them by 255: floating images from 0 to 1",
            )
        with scope("augment"):
            for transform in self.transforms:
                x = transform(x, self.generator)
        return x

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator, for ``mg.save``."""
        return self.generator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as a saved one would have."""
        for name, cell in self.state_dict().items():
            cell.assign(np.uint64(np.asarray(state[name])))

    def __repr__(self) -> str:
        return f"Augment({', '.join(map(repr, self.transforms))})"
