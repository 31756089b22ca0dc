"""The digits of scikit-learn, MNIST folders, stratified splits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import BackendUnavailable, DataError, TraceError

RNG = np.random.default_rng(0)


def sorted_rows(x: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in x)


@pytest.mark.parametrize("flat", [True, False])
def test_digits_are_images_from_0_to_1_with_labels(flat: bool) -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="pip install 'minigrad[data]'")
    x_train, y_train, x_test, y_test = mg.data.digits(flat=flat)
    assert x_train.shape == ((1438, 64) if flat else (1438, 1, 8, 8))
    assert x_test.shape[0] == len(y_test) == 359
    assert (x_train.dtype, y_train.dtype) == (np.float32, np.int64)
    assert (x_train.min(), x_train.max()) == (0.0, 1.0)
    original = sklearn.load_digits()
    together = np.concatenate([x_train, x_test]).reshape(-1, 64) * 16
    assert sorted_rows(together) == sorted_rows(original.data.astype(np.float32))
    for digit in range(10):
        count = (original.target == digit).sum()
        assert abs((y_train == digit).sum() - 0.8 * count) < 1


def test_digits_depend_on_the_seed_alone() -> None:
    pytest.importorskip("sklearn", reason="pip install 'minigrad[data]'")
    first, second, other = mg.data.digits(), mg.data.digits(), mg.data.digits(seed=1)
    np.testing.assert_array_equal(first.x_train, second.x_train)
    assert not np.array_equal(first.x_train, other.x_train)
    assert len(set(first.y_train[:30].tolist())) > 5  # not sorted by class
    some = mg.data.digits(train=100, test=0.1)
    assert (len(some.y_train), len(some.y_test)) == (100, 180)


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'minigrad\[data\]'"):
        mg.data.digits()


@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    share=st.floats(0.0, 0.999),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_stratified_split_is_a_partition_in_proportion(
    counts: list[int], share: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    first, second = mg.data.stratified_split(labels, share, seed=seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert len(first) == round(len(labels) * share)
    for c, count in enumerate(counts):
        assert abs((labels[first] == c).sum() - count * len(first) / len(labels)) < 1


def test_a_stratified_split_refuses_more_than_there_is() -> None:
    for train, test in ((11, None), (6, 5), (-1, None)):
        with pytest.raises(DataError, match="of 10"):
            mg.data.stratified_split(np.zeros(10), train, test)
    with pytest.raises(DataError, match="one axis"):
        mg.data.stratified_split(np.zeros((2, 2)), 1)
    with pytest.raises(TraceError, match="outside"):
        mg.trace(lambda: mg.data.stratified_split([0, 1], 1)[0])


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return {
        "train-images-idx3": RNG.integers(0, 256, (60, 5, 4)).astype(np.uint8),
        "train-labels-idx1": np.tile(np.arange(10), 6).astype(np.uint8),
        "t10k-images-idx3": RNG.integers(0, 256, (20, 5, 4)).astype(np.uint8),
        "t10k-labels-idx1": np.tile(np.arange(10), 2).astype(np.uint8),
    }


def write(folder: Path, arrays: dict[str, np.ndarray], end: str = "-ubyte.gz") -> Path:
    for name, array in arrays.items():
        mg.data.write_idx(folder / f"{name}{end}", array)
    return folder


@pytest.mark.parametrize("end", ["-ubyte", "-ubyte.gz"])
def test_a_folder_of_mnist_files_is_read(end: str, arrays: Any, tmp_path: Path) -> None:
    split = mg.data.mnist(write(tmp_path, arrays, end))
    assert split.x_train.shape == (60, 1, 5, 4)
    assert (split.x_train.dtype, split.y_train.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(split.x_train[:, 0] * 255, arrays["train-images-idx3"], rtol=1e-6)
    np.testing.assert_array_equal(split.y_test, arrays["t10k-labels-idx1"])
    assert mg.data.mnist(str(tmp_path), flat=True).x_test.shape == (20, 20)


def test_names_with_a_dot_are_known_too(arrays: Any, tmp_path: Path) -> None:
    renamed = {name.replace("-idx", ".idx"): a for name, a in arrays.items()}
    assert len(mg.data.mnist(write(tmp_path, renamed, "-ubyte")).y_train) == 60


def test_a_folder_with_one_pair_gives_that(arrays: Any, tmp_path: Path) -> None:
    write(tmp_path, {k: v for k, v in arrays.items() if k.startswith("t10k")})
    for split in (mg.data.mnist(tmp_path), mg.data.mnist(tmp_path, "test")):
        assert split.x_train.shape == (0, 1, 5, 4)
        assert split.y_train.shape == (0,)
        assert len(split.y_test) == 20
    assert mg.data.mnist(tmp_path, flat=True).x_train.shape == (0, 20)
    with pytest.raises(DataError, match=r"(?s)train images are missing.*train-images.*t10k-images"):
        mg.data.mnist(tmp_path, "train")


def test_one_pair_can_be_divided(arrays: Any, tmp_path: Path) -> None:
    write(tmp_path, {k: v for k, v in arrays.items() if k.startswith("t10k")})
    split = mg.data.mnist(tmp_path, train=0.5)
    assert np.bincount(split.y_train).tolist() == np.bincount(split.y_test).tolist() == [1] * 10
    rest = mg.data.mnist(tmp_path, test=5)
    assert (len(rest.y_train), len(rest.y_test)) == (15, 5)
    write(tmp_path, arrays)
    assert len(mg.data.mnist(tmp_path, train=50).y_test) == 10  # of the 60 training images
    assert len(mg.data.mnist(tmp_path, "test", train=15).y_test) == 5
    some = mg.data.mnist(tmp_path, train=30, test=10)
    assert (len(some.y_train), len(some.y_test)) == (30, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a.update({"t10k-labels-idx1": a["t10k-labels-idx1"][:-1]}),
            r"t10k-labels.*expected  20 labels.*found     19 labels",
        ),
        (
            lambda a: a.update({"t10k-images-idx3": a["t10k-images-idx3"].astype(np.int16)}),
            r"t10k-images.*magic 0x00000803.*magic 0x00000B03",
        ),
        (
            lambda a: a.update({"t10k-labels-idx1": a["t10k-images-idx3"]}),
            r"expected  magic 0x00000801.*swapped",
        ),
        (lambda a: a.pop("t10k-labels-idx1"), "test labels are missing"),
        (lambda a: a.pop("train-images-idx3"), "train images are missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    change: Any, message: str, arrays: Any, tmp_path: Path
) -> None:
    change(arrays)
    write(tmp_path, arrays)
    with pytest.raises(DataError, match=f"(?s){message}"):
        mg.data.mnist(tmp_path)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)an empty folder.*mg\.data\.digits"):
        mg.data.mnist(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        mg.data.mnist(tmp_path / "gone")
    with pytest.raises(DataError, match="split = 'both'"):
        mg.data.mnist(tmp_path, "both")  # type: ignore[arg-type]


def test_the_images_of_the_shared_folder_are_those_of_mnist() -> None:
    folder = Path(mg.__file__).parents[2] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("the folder shared/data/mnist is not here")
    split = mg.data.mnist(folder, train=8000)
    assert split.x_train.shape == (8000, 1, 28, 28)
    assert split.x_test.shape == (2000, 1, 28, 28)
    everything = mg.data.mnist(folder)
    # published counts of the test set's labels
    expected = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(everything.y_test).tolist() == expected
    assert everything.y_test[:5].tolist() == [7, 2, 1, 0, 4]
