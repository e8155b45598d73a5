"""Pictures in color: files, arrays, torch data sets, and what is said of what was lost."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import discretevae as dv
from discretevae.config import Augment
from discretevae.data import Rows, Schema, load_data, load_rows
from discretevae.data.augmentation import distort
from discretevae.errors import ConfigError, DataError, DataWarning

H, W = 6, 5
COLORS = np.random.default_rng(0).integers(0, 256, (6, H, W, 3), np.uint8)
GREY = COLORS[..., 0]


def save(folder, *pictures, suffix="png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(folder / f"{number}.{suffix}", **options)
    return folder


def pixels(rows):
    return rows.values.reshape(len(rows), *rows.image_shape).numpy()


def test_colors_are_read_with_the_channels_of_a_pixel_side_by_side(tmp_path):
    rows = load_rows(save(tmp_path / "a", *COLORS))
    assert (rows.image_shape, rows.n_features, rows.divisor) == ((H, W, 3), H * W * 3, 255)
    assert (pixels(rows) == COLORS).all()
    assert "pictures of 6×5×3" in repr(rows)


@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_folder_is_grey_only_if_every_picture_is(tmp_path, at):
    pictures = list(np.stack([GREY] * 3, -1))  # grey, in a file of three channels
    assert load_rows(save(tmp_path / "grey", *pictures)).image_shape == (H, W)
    pictures[at] = COLORS[at]
    pictures[3] = GREY[3]  # a file of one channel
    rows = load_rows(save(tmp_path / "a", *pictures))
    expected = np.stack([GREY] * 3, -1)
    expected[at] = COLORS[at]
    assert (pixels(rows) == expected).all()


def test_color_decides_where_it_is_given(tmp_path):
    grey, colors = save(tmp_path / "grey", *GREY), save(tmp_path / "colors", *COLORS)
    assert (pixels(load_rows(grey, color="rgb")) == np.stack([GREY] * 3, -1)).all()
    expected = [np.asarray(Image.fromarray(each).convert("L")) for each in COLORS]
    assert (pixels(load_rows(colors, color="grey")) == np.stack(expected)).all()
    with pytest.raises(ConfigError, match="`color` 'red' is unknown"):
        load_rows(colors, color="red")


def test_pictures_are_resized_in_color(tmp_path):
    rows = load_rows(save(tmp_path / "a", *COLORS), image_size=(2, 3))
    expected = [Image.fromarray(e).resize((3, 2), Image.Resampling.BILINEAR) for e in COLORS]
    assert (pixels(rows) == np.stack([np.asarray(each) for each in expected])).all()


def test_new_pictures_get_the_channels_of_a_run(tmp_path):
    grey, colors = save(tmp_path / "grey", *GREY), save(tmp_path / "colors", *COLORS)
    of_grey, of_colors = (Schema.of(load_data(each)) for each in (grey, colors))
    assert load_rows(grey, schema=of_colors).image_shape == (H, W, 3)
    with pytest.warns(DataWarning, match=r"6 files \(such as 0.png\) in color made grey"):
        assert load_rows(colors, schema=of_grey).image_shape == (H, W)
    assert load_rows(colors, schema=of_grey, color="grey").image_shape == (H, W)
    for schema, color in ((of_grey, "rgb"), (of_colors, "grey")):
        with pytest.raises(DataError, match=f"the run: not of `color='{color}'`"):
            load_rows(colors, schema=schema, color=color)
    again = Schema.from_dict(of_colors.to_dict())
    assert again.image_shape == (H, W, 3)
    with pytest.raises(DataError, match="rows have 30 features, but the model takes 90"):
        load_rows(GREY, schema=of_colors)


@pytest.mark.parametrize(
    "mode", ["P", "CMYK", "YCbCr", "RGBA", "RGB"], ids=["palette", "cmyk", "jpeg", "alpha", "rgb"]
)
def test_modes_of_color_become_red_green_and_blue(tmp_path, mode):
    suffix = {"CMYK": "tif", "YCbCr": "tif"}.get(mode, "png")
    image = Image.fromarray(np.full((H, W, 3), (255, 102, 0), np.uint8)).convert(mode)
    folder = save(tmp_path / "a", image, image, suffix=suffix)
    said = pytest.warns(DataWarning, match="in CMYK") if mode == "CMYK" else nullcontext()
    with said:
        rows = load_rows(folder)
    assert rows.image_shape == (H, W, 3)
    assert (abs(pixels(rows).astype(int) - (255, 102, 0)) <= 2).all()


def test_what_is_lost_is_said_once(tmp_path):
    seen = np.dstack((COLORS[0], np.zeros((H, W), np.uint8)))
    seen[0, 0, 3] = 255
    with pytest.warns(DataWarning, match=r"2 files \(such as 0.png\) with transparent") as said:
        rows = load_rows(save(tmp_path / "alpha", seen, seen))
    assert len(said) == 1
    assert (pixels(rows)[:, 0, 0] == COLORS[0, 0, 0]).all()
    assert (pixels(rows)[:, 1:] == 255).all()
    images = [Image.fromarray(each) for each in COLORS[:3]]
    films = save(tmp_path / "films", images[0], save_all=True, append_images=images[1:])
    with pytest.warns(DataWarning, match=r"1 file \(0.png\) of several frames"):
        assert (pixels(load_rows(films))[0] == COLORS[0]).all()


def test_lab_is_refused(tmp_path):
    lab = Image.new("LAB", (W, H))
    with pytest.raises(DataError, match=r"0\.tif: a picture in LAB.* Save it as RGB"):
        load_rows(save(tmp_path / "a", lab, suffix="tif"))


@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_broken_file_is_named_or_left_out(tmp_path, at):
    folder = save(tmp_path / "a", *COLORS)
    whole = (folder / "0.png").read_bytes()
    broken = folder / f"{at - 1}b.png"
    broken.write_bytes(whole[: len(whole) // 2])
    (folder / "9.txt").write_text("no picture")
    with pytest.raises(DataError, match=rf"{broken.name}.*`skip_broken=True`|9\.txt"):
        load_rows(folder)
    with pytest.warns(DataWarning, match=r"2 files \((?!such).*\) that cannot be read left out"):
        rows = load_rows(folder, skip_broken=True)
    assert (pixels(rows) == COLORS).all()
    assert rows.ids.tolist() == [f"{i}.png" for i in range(6)]
    for file in folder.glob("*.png"):
        file.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="no file that can be read, out of 8"):
        load_rows(folder, skip_broken=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["memory", "npy", "fortran", "npz", "streamed"])
def test_arrays_may_have_their_channels_first_or_last(tmp_path, channels, kind, monkeypatch):
    last = np.random.default_rng(1).integers(0, 256, (7, 6, 5, channels), np.uint8)
    for array in (last, np.ascontiguousarray(np.moveaxis(last, 3, 1))):
        source = array
        if kind == "npz":
            np.savez(source := tmp_path / "a.npz", x=array)
        elif kind != "memory":
            np.save(
                source := tmp_path / "a.npy", np.asfortranarray(array) if kind[0] == "f" else array
            )
        if kind == "streamed":
            monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
        rows = load_rows(source)
        assert rows.is_streamed == (kind == "streamed")
        assert rows.image_shape == ((6, 5) if channels == 1 else (6, 5, channels))
        assert torch.equal(rows.batch(slice(None)), torch.from_numpy(last).reshape(7, -1) / 255)
        assert torch.equal(
            rows.batch(torch.tensor([4, 1]))[0] * 255, torch.from_numpy(last[4].ravel())
        )


def test_shapes_that_can_be_read_in_two_ways_are_said():
    array = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    with pytest.warns(DataWarning, match="either axis of shape"):
        assert Rows.from_array(array).image_shape == (3, 4, 3)
    assert Rows.from_array(array, image_shape=(4, 3, 3)).image_shape == (4, 3, 3)
    first = Rows.from_array(array, image_shape=(4, 3))
    assert first.values[0].tolist() == np.moveaxis(array[0], 0, 2).ravel().tolist()
    with pytest.raises(DataError, match="the pictures are 3x4x3, not 9x9 as asked"):
        Rows.from_array(array, image_shape=(9, 9))


def test_flat_rows_of_a_size_have_channels_last():
    flat = COLORS.reshape(6, -1)
    assert Rows.from_array(flat, image_shape=(H, W)).image_shape == (H, W, 3)
    assert load_rows(flat, image_size=(H, W)).image_shape == (H, W, 3)
    with pytest.raises(DataError, match=r"need 150 values a row\. Got 70"):
        Rows.from_array(np.zeros((2, 70)), image_shape=(H, W, 5))
    with pytest.raises(DataError, match=r"pictures of 6x5 need 30 values a row\. Got 70"):
        Rows.from_array(np.zeros((2, 70)), image_shape=(H, W))


def test_torch_data_sets_give_channels_first():
    x = torch.from_numpy(COLORS).permute(0, 3, 1, 2) / 255
    rows = load_rows(TensorDataset(x, torch.arange(6)))
    assert rows.image_shape == (H, W, 3)
    assert rows.are_bytes
    assert torch.equal(rows.batch(slice(None)), torch.from_numpy(COLORS).reshape(6, -1) / 255)


def test_color_is_refused_of_what_is_no_file_of_pictures():
    with pytest.raises(DataError, match="not of `color='rgb'`, which is for pictures in files"):
        load_rows(GREY, color="rgb")
    with pytest.raises(DataError, match="not of `color='grey'`"):
        load_rows(COLORS, color="grey")
    assert load_rows(COLORS, color="rgb").image_shape == (H, W, 3)


def test_colors_in_8_bits_have_a_likelihood_of_8_bits():
    def chosen(array):
        return str(dv.DiscreteVAE.for_data(Rows.from_array(array)).config.likelihood)

    assert chosen(COLORS) == "logistic"
    assert chosen(COLORS / 255) == "logistic"
    assert chosen(GREY) == chosen(COLORS > 100) == chosen(COLORS / 256) == "bernoulli"


def test_distortions_move_the_channels_alike():
    x = torch.rand(3, H, W, 3, generator=torch.Generator().manual_seed(0))
    augment = Augment(shift=1.0, rotate=20.0, scale=0.2, shear=0.2)
    moved, *single = (
        distort(part.reshape(3, -1), augment, shape, generator=torch.Generator().manual_seed(1))
        for part, shape in [(x, (H, W, 3)), *((x[..., c], (H, W)) for c in range(3))]
    )
    assert torch.allclose(
        moved.reshape(x.shape), torch.stack(single, -1).reshape(x.shape), atol=1e-6
    )
