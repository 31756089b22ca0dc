"""Handwritten digits: those that ship with scikit-learn, and MNIST files from a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from minigrad.dtypes import Array
from minigrad.errors import BackendUnavailable, DataError

from .idx import PathLike, magic_of, read_idx
from .order import stratified_split

__all__ = ["Split", "digits", "mnist"]


class Split(NamedTuple):
    """Data to train on and data to test on: images from 0 to 1 (float32), labels (int64)."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def _images(pixels: Array, white: float, flat: bool) -> Array:
    """Return (m, h, w) pixels as (m, h * w), or (m, 1, h, w), from 0 to 1."""
    m, h, w = pixels.shape
    scaled = pixels.astype(np.float32) / np.float32(white)
    return scaled.reshape((m, h * w) if flat else (m, 1, h, w))


def _divided(x: Array, y: Array, train: float | None, test: float | None, seed: int) -> Split:
    if train is None:  # all that is not for testing
        assert test is not None
        train = len(y) - (round(len(y) * test) if isinstance(test, float) else test)
    first, second = stratified_split(y, train, test, seed=seed)
    return Split(x[first], y[first], x[second], y[second])


def digits(
    train: float = 0.8, test: float | None = None, *, seed: int = 0, flat: bool = True
) -> Split:
    """Return the 1,797 handwritten digits, 8 by 8, that ship with scikit-learn.

    Parameters
    ----------
    train, test
        How many to train on and to test on: integers, or shares below 1. By default 80 in
        a hundred, and the rest. Every digit has its share in both.
    seed
        Decides which ones.
    flat
        Images as rows of 64 numbers; otherwise as (m, 1, 8, 8), PyTorch's order.

    Raises
    ------
    BackendUnavailable
        If scikit-learn is not installed.

    Example
    -------
    ``x_train, y_train, x_test, y_test = mg.data.digits()``

    Source: Alpaydin and Kaynak, 1998, Optical Recognition of Handwritten Digits (UCI).
    """
    try:
        datasets = import_module("sklearn.datasets")
    except ImportError as error:
        raise BackendUnavailable(
            "digits: scikit-learn, which holds them, is not installed",
            fix="pip install 'minigrad[data]', or read MNIST files with mg.data.mnist(folder)",
        ) from error
    found = datasets.load_digits()
    x = _images(found.images, 16.0, flat)
    return _divided(x, found.target.astype(np.int64), train, test, seed)


_PARTS = {"train": "train", "test": "t10k"}


def _file(folder: Path, prefix: str, kind: str, axes: int) -> Path | None:
    """Return the file of this kind under any of its usual names."""
    names = [f"{prefix}-{kind}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _pair(folder: Path, part: str) -> tuple[Array, Array] | None:
    """Return images and labels of one part, checked, or None if neither file is there."""
    prefix = _PARTS[part]
    paths = _file(folder, prefix, "images", 3), _file(folder, prefix, "labels", 1)
    if paths == (None, None):
        return None
    arrays = []
    for path, kind, axes in zip(paths, ("images", "labels"), (3, 1), strict=True):
        if path is None:
            _missing(folder, f"{prefix}-{kind}-idx{axes}-ubyte[.gz]", f"the {part} {kind}")
        array = read_idx(path)
        if array.dtype != np.uint8 or array.ndim != axes:
            raise DataError(
                f"{path}: does not hold MNIST {kind}",
                operands=[
                    f"expected  magic 0x000008{axes:02X}: uint8, {axes} axes",
                    f"found     magic {magic_of(array)}: {array.dtype}, {array.ndim} axes",
                ],
                fix="are images and labels swapped?",
            )
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"{paths[1]}: the labels do not belong to the images",
            operands=[f"expected  {len(images)} labels", f"found     {len(labels)} labels"],
            fix="get both files from the same place",
        )
    return images, labels


def _missing(folder: Path, name: str, what: str) -> NoReturn:
    found = "no such folder"
    if folder.is_dir():
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder"
    raise DataError(
        f"{folder}: {what} are missing",
        operands=[f"expected  {name}", f"found     {found}"],
        fix="put the MNIST files into the folder; mg.data.digits() needs no files",
    )


def mnist(
    folder: PathLike,
    split: Literal["train", "test"] | None = None,
    *,
    train: float | None = None,
    test: float | None = None,
    seed: int = 0,
    flat: bool = False,
) -> Split:
    """Return the data in a folder of MNIST-format files, gzipped or not.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with
    ``t10k``; MNIST, Fashion-MNIST and others come so. If a folder holds only one of the two
    pairs, the other half of the result is empty (0 rows).

    Parameters
    ----------
    folder
        Where the files are.
    split
        ``"train"`` or ``"test"`` reads that pair alone; it must then be there.
    train, test
        Divide one pair (``split``, or else the first that is there, training before test)
        into so many images to train on and to test on: integers, or shares below 1. Every
        class has its share in both. So ``mnist(folder, train=8000)`` makes a training and a
        test set of the 10,000 test images alone.
    seed
        Decides which ones.
    flat
        Images as rows of 784 numbers instead of (m, 1, 28, 28), PyTorch's order.

    Raises
    ------
    DataError
        If a file is missing or damaged; the message has its path, what was expected and
        what was found. Nothing is returned in part.

    Source: LeCun, Cortes and Burges, 1998.
    """
    if split not in (None, *_PARTS):
        raise DataError(f"mnist: split = {split!r}", fix='"train", "test", or None for both')
    where = Path(folder)
    wanted = [split] if split else list(_PARTS)
    pairs = {part: pair for part in wanted if (pair := _pair(where, part)) is not None}
    if not pairs:
        prefix = _PARTS[wanted[0]]
        _missing(where, f"{prefix}-images-idx3-ubyte[.gz]", f"the {wanted[0]} images")
    ready = {
        part: (_images(images, 255.0, flat), labels.astype(np.int64))
        for part, (images, labels) in pairs.items()
    }
    x, y = next(iter(ready.values()))
    if train is not None or test is not None:
        return _divided(x, y, train, test, seed)
    none = x[:0], y[:0]
    return Split(*ready.get("train", none), *ready.get("test", none))
