"""Augmentation (catalogue row G7): each change against NumPy, image by image; seeds; labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import Augment, ColourJitter, Crop, Flip, Noise, Rotate, Shift
from minigrad.data.augment import rotated
from minigrad.errors import DataError, DtypeError, ShapeError
from tests.agreement import agree

RNG = np.random.default_rng(0)
GREY = RNG.uniform(0.1, 1.0, size=(40, 1, 7, 6))  # no zeros: what comes in can be told apart
COLOUR = RNG.uniform(0.1, 1.0, size=(40, 3, 7, 6))
ALL = (Flip(), Crop(6, 1), Shift(2), Rotate(20), ColourJitter(0.3, 0.3, 0.3), Noise(0.1))


def test_flip_mirrors_about_half_of_the_images_whole() -> None:
    x = RNG.uniform(size=(400, 3, 4, 5))
    y = Augment(Flip(), seed=1)(x)
    mirrored = (y == x[..., ::-1]).all(axis=(1, 2, 3))
    same = (y == x).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 160 < mirrored.sum() < 240
    np.testing.assert_array_equal(Augment(Flip(1.0), seed=1)(x), x[..., ::-1])
    np.testing.assert_array_equal(Augment(Flip(1.0, axis=-2), seed=1)(x), x[..., ::-1, :])
    np.testing.assert_array_equal(Augment(Flip(0.0), seed=1)(x), x)


def pieces(image: np.ndarray, around: int, h: int, w: int) -> dict[tuple[int, int], np.ndarray]:
    """Return every piece of an image by its place."""
    padded = np.pad(image, ((0, 0), (around, around), (around, around)))
    places = np.ndindex(padded.shape[1] - h + 1, padded.shape[2] - w + 1)
    return {(i, j): padded[:, i : i + h, j : j + w] for i, j in places}


@pytest.mark.parametrize(("change", "around", "size"), [
    (Crop(4), 0, (4, 4)), (Crop(6, 2), 2, (6, 6)), (Shift(2), 2, (7, 6)), (Crop(6), 0, (6, 6)),
])  # fmt: skip
def test_crops_and_shifts_are_pieces_from_every_place(
    change: Any, around: int, size: tuple[int, int]
) -> None:
    x = np.repeat(COLOUR[:8], 60, axis=0)
    y = Augment(change, seed=2)(x)
    seen = set()
    for image, result in zip(x, y, strict=True):
        found = [k for k, p in pieces(image, around, *size).items() if (p == result).all()]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(pieces(x[0], around, *size))


def test_a_shift_of_0_and_a_crop_of_the_whole_change_nothing() -> None:
    x = RNG.uniform(size=(3, 1, 5, 5))
    np.testing.assert_array_equal(Augment(Shift(0), Crop(5), Rotate(0), seed=0)(x), x)


@pytest.mark.parametrize("degrees", [-33.0, 5.0, 20.0, 130.0])
def test_rotation_interpolates_as_scipy_does(degrees: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    t = np.deg2rad(degrees)
    matrix = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    centre = (np.array(GREY.shape[2:]) - 1) / 2
    angles = mg.tensor(np.full((40, 1, 1, 1), t))
    found = rotated(mg.tensor(GREY), angles).numpy()
    for image, result in zip(GREY[:, 0], found[:, 0], strict=True):
        expected = ndimage.affine_transform(
            image, matrix, centre - matrix @ centre, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(result, expected, atol=1e-12)


def test_rotation_by_a_quarter_turns_anticlockwise_and_four_give_the_image_back() -> None:
    x = mg.tensor(RNG.uniform(size=(2, 3, 6, 6)))
    quarter = mg.tensor(np.full((2, 1, 1, 1), np.pi / 2))
    y = rotated(x, quarter)
    np.testing.assert_allclose(y.numpy(), np.rot90(x.numpy(), axes=(2, 3)), atol=1e-12)
    for _ in range(3):
        y = rotated(y, quarter)
    np.testing.assert_allclose(y.numpy(), x.numpy(), atol=1e-12)


def test_each_image_has_an_angle_of_its_own_within_the_range() -> None:
    """A bar across the middle: the angle is read off by its moments."""
    x = np.zeros((200, 1, 21, 21))
    x[:, 0, 10, 3:18] = 1.0
    y = Augment(Rotate(25), seed=3)(x)[:, 0]
    r, c = np.mgrid[-10:11, -10:11]
    moment = lambda v: (y * v).sum(axis=(1, 2))
    angles = np.rad2deg(0.5 * np.arctan2(-2 * moment(r * c), moment(c * c) - moment(r * r)))
    assert np.abs(angles).max() < 26
    assert len(np.unique(angles.round(3))) > 190
    assert np.abs(np.quantile(angles, [0.25, 0.5, 0.75]) - [-12.5, 0, 12.5]).max() < 4


def test_colours_change_by_the_factors_that_were_drawn() -> None:
    y = Augment(ColourJitter(0.2, 0.4, 0.6), seed=4)(COLOUR)
    g = mg.random.Generator(4)
    draw = lambda s: mg.random.uniform(
        (40, 1, 1, 1), 1 - s, 1 + s, dtype=mg.float32, generator=g
    ).numpy()
    grey = lambda v: np.tensordot(v, [0.299, 0.587, 0.114], axes=(1, 0))[:, None]
    x = np.clip(COLOUR * draw(0.2), 0, 1)
    f = draw(0.4)
    x = np.clip(f * x + (1 - f) * grey(x).mean(axis=(1, 2, 3), keepdims=True), 0, 1)
    f = draw(0.6)
    x = np.clip(f * x + (1 - f) * grey(x), 0, 1)
    np.testing.assert_allclose(y, x, rtol=1e-6)
    assert len(np.unique((y / COLOUR)[:, 0, 0, 0])) == 40


def test_brightness_multiplies_contrast_keeps_the_mean_and_saturation_the_grey() -> None:
    x = RNG.uniform(0.4, 0.6, size=(30, 3, 4, 4))
    ratio = Augment(ColourJitter(brightness=0.5), seed=5)(x) / x
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1, :1], x.shape), rtol=1e-6)
    assert 0.5 <= ratio.min() < 0.7
    assert 1.3 < ratio.max() <= 1.5
    grey = lambda v: np.tensordot(v, [0.299, 0.587, 0.114], axes=(1, 0))
    y = Augment(ColourJitter(contrast=0.5), seed=5)(x)
    np.testing.assert_allclose(grey(y).mean(axis=(1, 2)), grey(x).mean(axis=(1, 2)), rtol=1e-6)
    y = Augment(ColourJitter(saturation=0.5), seed=5)(x)
    np.testing.assert_allclose(grey(y), grey(x), rtol=1e-6)
    assert (np.abs(y - x).max(axis=(1, 2, 3)) > 1e-4).all()


def test_colours_of_one_channel_need_no_saturation() -> None:
    y = Augment(ColourJitter(0.5, 0.5), seed=6)(GREY)
    assert y.shape == GREY.shape
    assert y.min() >= 0
    assert y.max() <= 1
    with pytest.raises(ShapeError, match=r"saturation of images with 1 channels(.|\n)*red"):
        Augment(ColourJitter(saturation=0.5), seed=6)(GREY)


def test_noise_is_normal_with_the_deviation_that_was_asked_for() -> None:
    x = np.full((50, 1, 20, 20), 0.5)
    z = (Augment(Noise(0.2), seed=7)(x) - x) / 0.2
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1.0, abs=0.02)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize("change", ALL, ids=repr)
def test_seeds_decide_and_every_call_draws_anew(change: Any) -> None:
    first, second = Augment(change, seed=1), Augment(change, seed=1)
    a, b = first(COLOUR), first(COLOUR)
    assert (a != b).any()
    np.testing.assert_array_equal(a, second(COLOUR))
    np.testing.assert_array_equal(b, second(COLOUR))
    assert (a != Augment(change, seed=2)(COLOUR)).any()


@pytest.mark.parametrize("change", ALL, ids=repr)
def test_a_compiled_augmentation_is_the_one_at_the_prompt(change: Any, backend: str) -> None:
    x = COLOUR.astype(np.float32)
    eager, inside = Augment(change, seed=1), Augment(change, seed=1)
    compiled = mg.compile(inside, backend=backend)
    for _ in range(3):
        exact = isinstance(change, Flip | Crop | Shift)
        agree(compiled(x).numpy(), eager(x), "numpy" if exact else backend)
    assert compiled.signatures == 1


@pytest.mark.parametrize("change", ALL, ids=repr)
def test_places_and_factors_do_not_depend_on_the_dtype(change: Any) -> None:
    if isinstance(change, Noise):
        return  # a float64 number has more random bits
    single = Augment(change, seed=1)(COLOUR.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, Augment(change, seed=1)(COLOUR), atol=1e-5)


def test_without_a_seed_the_default_generator_decides() -> None:
    found = []
    for seed in (1, 1, 2):
        mg.random.seed(seed)
        found.append(Augment(Shift(2))(GREY))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_images_and_labels_go_apart_and_the_originals_stay() -> None:
    x, before = COLOUR.copy(), COLOUR.copy()
    Augment(*ALL, seed=1)(x)
    np.testing.assert_array_equal(x, before)
    labels = np.arange(40)
    augment = Augment(*ALL, seed=1)
    batches = mg.data.Batches(x, labels, batch_size=8)
    seen = [y for images, y in batches if augment(images).shape == (8, 3, 6, 6)]
    np.testing.assert_array_equal(np.concatenate([y.numpy() for y in seen]), labels)


def test_gradients_pass_through_to_the_pixels() -> None:
    x = mg.tensor(COLOUR[:2], requires_grad=True)
    y = Augment(Flip(), Shift(1), Rotate(10), Noise(0.1), seed=1)(x)
    assert isinstance(y, mg.Tensor)
    y.sum().backward()
    assert x.grad.shape == x.shape
    probe = RNG.normal(size=(2, 1, 5, 5))
    angles = mg.tensor(np.array([0.3, -0.8]).reshape(2, 1, 1, 1))
    mg.testing.check_grads(lambda v: rotated(v, angles), (probe,), order=2)


def test_a_saved_augmentation_goes_on(tmp_path: Path) -> None:
    augment = Augment(*ALL, seed=1)
    augment(COLOUR)
    mg.save(tmp_path / "run", augment=augment)
    expected = augment(COLOUR)
    other = Augment(*ALL, seed=9)
    mg.load(tmp_path / "run", augment=other)
    np.testing.assert_array_equal(other(COLOUR), expected)
    third = Augment(*ALL, seed=9)
    third.load_state_dict(mg.load(tmp_path / "run")["augment"])
    np.testing.assert_array_equal(third(COLOUR), expected)


def test_functions_of_images_and_a_generator_are_transforms_too() -> None:
    def darker(x: Any, generator: Any) -> Any:
        return x * mg.random.uniform((x.shape[0], 1, 1, 1), 0.5, 1.0, generator=generator)

    augment = Augment(darker, Flip(), seed=1)
    assert (augment(GREY) <= 1).all()
    assert repr(Augment(Flip(), Shift(2))) == "Augment(Flip(p=0.5, axis=-1), Shift(most=2))"


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (np.zeros((2, 64)), ShapeError, r"shape \(2, 64\)(.|\n)*digits\(flat=False\)"),
        (np.zeros((2, 1, 4, 4), np.uint8), DtypeError, r"uint8(.|\n)*divide them by 255"),
    ],
)
def test_what_is_not_an_image_is_refused(x: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        Augment(Flip())(x)


@pytest.mark.parametrize("make", [
    lambda: Flip(1.5), lambda: Crop(0), lambda: Crop(2, -1), lambda: Shift(-1),
    lambda: Rotate(-1), lambda: ColourJitter(brightness=2), lambda: Noise(-0.1),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(DataError, match="from 0"):
        make()


def test_a_piece_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ShapeError, match="9 by 9 pixels from 7 by 6"):
        Augment(Crop(9, 1))(GREY)
