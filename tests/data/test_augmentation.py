"""Distortions of pictures: what each figure does, and that nothing else happens."""

from __future__ import annotations

import torch

from discretevae.config import Augment
from discretevae.data.augmentation import distort

SHAPE = (11, 15)


def blob(center=(5, 7), rows=400):
    """A picture with a soft spot, many times."""
    y, x = torch.meshgrid(torch.arange(11.0), torch.arange(15.0), indexing="ij")
    spot = torch.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 4)
    return spot.flatten().repeat(rows, 1)


def moments(pictures):
    """Centre (y, x) and variances (yy, xx, xy) of each picture's mass."""
    y, x = torch.meshgrid(torch.arange(11.0), torch.arange(15.0), indexing="ij")
    mass = pictures / pictures.sum(1, keepdim=True)
    cy, cx = mass @ y.flatten(), mass @ x.flatten()
    dy, dx = y.flatten() - cy[:, None], x.flatten() - cx[:, None]
    return cy, cx, (mass * dy * dy).sum(1), (mass * dx * dx).sum(1), (mass * dx * dy).sum(1)


def shown(augment, x=None, seed=0):
    x = blob() if x is None else x
    return distort(x, augment, SHAPE, generator=torch.Generator().manual_seed(seed))


def test_nothing_asked_for_changes_nothing():
    assert torch.allclose(shown(Augment()), blob(), atol=1e-5)


def test_shifts_are_uniform_within_the_pixels_asked_for():
    cy, cx, *_ = moments(shown(Augment(shift=2.0)))
    for center, middle in ((cy, 5), (cx, 7)):
        moved = center - middle
        assert moved.abs().max() < 2.1
        # both ends are reached; of 400 uniform draws this fails with probability below 1e-15
        assert moved.max() > 1.8
        assert moved.min() < -1.8


def test_turns_keep_distances_on_pictures_that_are_not_square():
    off = blob(center=(5, 11))
    cy, cx, *_ = moments(shown(Augment(rotate=40.0), off))
    radius = ((cy - 5) ** 2 + (cx - 7) ** 2).sqrt()
    angle = torch.rad2deg(torch.atan2(cy - 5, cx - 7))
    assert (radius - 4).abs().max() < 0.15
    assert angle.abs().max() < 41
    assert angle.max() > 36
    assert angle.min() < -36


def test_scales_and_shears_change_the_second_moments():
    _, _, yy, xx, xy = moments(shown(Augment(scale=0.2)))
    _, _, yy0, xx0, xy0 = moments(blob(rows=1))
    size = (yy * xx / (yy0 * xx0)) ** 0.25
    assert size.min() < 0.89
    assert size.max() > 1.15
    _, _, yy, xx, xy = moments(shown(Augment(shear=0.4)))
    assert (xy.abs() > 0.2).any()
    assert torch.allclose(yy, yy0.expand(400), rtol=0.05)
    assert xy0.abs() < 1e-5


def test_values_stay_within_those_of_the_picture():
    x = torch.rand(50, 165, generator=torch.Generator().manual_seed(0))
    moved = shown(Augment.of("strong"), x)
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_the_generator_and_nothing_else_decides():
    state = torch.random.get_rng_state()
    augment = Augment.of("strong")
    assert torch.equal(shown(augment, seed=1), shown(augment, seed=1))
    assert not torch.equal(shown(augment, seed=1), shown(augment, seed=2))
    assert torch.equal(torch.random.get_rng_state(), state)


COLORS = torch.tensor([0.2, 0.5, 1.0])


def test_beyond_the_edge_a_picture_looks_like_its_edge():
    flat = COLORS.repeat(50, 11 * 15)
    generator = torch.Generator().manual_seed(0)
    far = Augment(shift=30.0, rotate=180.0, scale=0.5, shear=1.0)
    moved = distort(flat, far, (*SHAPE, 3), generator=generator)
    assert torch.allclose(moved, flat, atol=1e-6)


def test_colors_are_shifted_together_by_whole_rows_of_pixels_and_columns():
    y, x = torch.meshgrid(torch.arange(11.0), torch.arange(15.0), indexing="ij")
    planes = torch.stack((x, 2 * x + y, 7 - y), -1)
    moved = distort(
        planes.reshape(1, -1).repeat(50, 1), Augment(shift=2.0), (*SHAPE, 3),
        generator=torch.Generator().manual_seed(0),
    ).reshape(50, *SHAPE, 3)  # fmt: skip
    change = (moved - planes)[:, 3:-3, 3:-3]
    across, down = change[:, :1, :1, 0], -change[:, :1, :1, 2]
    for channel, expected in enumerate((across, 2 * across + down, -down)):
        assert torch.allclose(change[..., channel], expected.expand(50, 5, 9), atol=1e-4)
    assert across.abs().max() > 1.8
    assert moved.amax((1, 2)).le(planes.amax((0, 1)) + 1e-4).all()
    # a column that comes from beyond the left edge is that edge
    right = across.flatten() < -1
    assert right.any()
    assert torch.allclose(moved[right, :, 0, 0], torch.zeros(1), atol=1e-4)
