"""Which value of a picture is white, in files of every depth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.data import Schema, load_data, load_rows
from discretevae.data.readers.white import with_white
from discretevae.data.stores.storing import ArrayTable
from discretevae.errors import DataError, DataWarning

SIDES = (4, 6)

GREY_AND_ALPHA = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000011004000000e58cd041"
    "0000000d49444154789c6398e3f0ff3f00063202db6ae6477a0000000049454e44ae426082"
)
"""A PNG of one pixel, grey 0x9C40 and opaque, which Pillow reads but does not write."""


def ramp(top, dtype=np.uint16):
    """Return a picture whose values run from 0 to ``top``."""
    return np.linspace(0, top, 24).round().reshape(SIDES).astype(dtype)


def save(folder, **pictures):
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(folder / f"{name}.png")
    return folder


def quiet(source, **options):
    """Return rows without a word about white."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_rows(source, **options)


def x_of(rows):
    return rows.batch(slice(None)).numpy()


@pytest.mark.parametrize(
    ("top", "white"), [(900, 1023), (1023, 1023), (4095, 4095), (3000, 4095), (16000, 16383)]
)
def test_the_range_of_16_bit_files_decides(tmp_path, top, white):
    with pytest.warns(DataWarning, match=f"{top:,}, of which {white:,} is taken for white"):
        rows = load_rows(save(tmp_path / "p", a=ramp(top), b=ramp(top // 2)))
    assert (rows.divisor, rows.values.dtype) == (white, torch.float32)
    assert np.array_equal(rows.values[0].reshape(SIDES).numpy(), ramp(top))
    assert np.allclose(x_of(rows)[1], ramp(top // 2).reshape(-1) / white, atol=1e-7)


def test_full_16_bits_are_kept_and_nothing_is_said(tmp_path):
    rows = load_rows(save(tmp_path / "p", a=ramp(65535), b=ramp(20000)))
    assert rows.divisor == 65535
    assert np.array_equal(rows.values[1].reshape(SIDES).numpy(), ramp(20000))


def test_8_bit_values_in_16_bit_files_stay_bytes(tmp_path):
    with pytest.warns(DataWarning, match="16 bits with values up to 255, of which 255"):
        rows = load_rows(save(tmp_path / "plain", a=ramp(255)))
    assert (rows.divisor, rows.values.dtype) == (255, torch.uint8)
    widened = load_rows(save(tmp_path / "widened", a=ramp(255) * 257))
    assert np.allclose(x_of(widened), x_of(rows), atol=1e-7)
    assert widened.are_bytes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_0_and_1_are_said_to_be_masks(tmp_path, dtype):
    folder = save(tmp_path / "p", a=np.eye(4, dtype=dtype), b=np.zeros((4, 4), dtype))
    with pytest.warns(DataWarning, match="values up to 1, of which 1 is taken for white"):
        rows = load_rows(folder)
    assert (rows.divisor, rows.values.dtype, rows.is_binary) == (1, torch.uint8, True)
    assert np.array_equal(x_of(rows)[0].reshape(4, 4), np.eye(4))
    dark = load_rows(folder, divisor=255)
    assert dark.divisor == 255
    assert float(x_of(dark).max()) == pytest.approx(1 / 255)


def test_one_brighter_picture_makes_it_no_mask(tmp_path):
    folder = save(tmp_path / "p", a=np.eye(4, dtype=np.uint8), b=np.full((4, 4), 90, np.uint8))
    assert load_rows(folder).divisor == 255


def test_pictures_of_1_bit_are_black_and_white(tmp_path):
    bits = Image.fromarray(np.eye(4) > 0)
    rows = load_rows(save(tmp_path / "p", a=bits))
    assert np.array_equal(x_of(rows)[0].reshape(4, 4), np.eye(4))
    mixed = quiet(save(tmp_path / "p", b=np.eye(4, dtype=np.uint8)))
    assert np.array_equal(x_of(mixed)[0], x_of(mixed)[1])
    grey = load_rows(save(tmp_path / "q", a=bits, b=np.full((4, 4), 90, np.uint8)))
    assert (grey.divisor, grey.values[0].max(), grey.values[1].max()) == (255, 255, 90)


def test_few_levels_are_said(tmp_path):
    folder = save(tmp_path / "p", a=ramp(16, np.uint8), b=ramp(9, np.uint8))
    with pytest.warns(DataWarning, match="values up to 16, of which 255 is taken for white"):
        assert load_rows(folder).divisor == 255
    assert load_rows(folder / "a.png").divisor == 255, "one may be dark, and nothing is said"
    assert float(x_of(load_rows(folder, divisor=16)).max()) == 1


def test_files_of_8_and_16_bits_together_are_refused(tmp_path):
    folder = save(tmp_path / "p", a=ramp(255, np.uint8), b=ramp(3000))
    with pytest.raises(DataError, match=r"a\.png is of 8 bits, b\.png of 16, .* Save all with 8"):
        load_rows(folder)


@pytest.mark.parametrize("divisor", [1000, 255, 1, 4095, 65535])
def test_a_divisor_overrides(tmp_path, divisor):
    folder = save(tmp_path / "p", a=ramp(900))
    rows = load_rows(folder, divisor=divisor)
    assert rows.divisor == divisor
    assert np.array_equal(rows.values[0].reshape(SIDES).numpy(), ramp(900))


def test_scaled_columns_are_made_of_values_as_they_are(tmp_path):
    folder = save(tmp_path / "p", a=ramp(3000), b=ramp(1500), c=ramp(100))
    raw = load_rows(folder, scale="none")
    assert np.array_equal(raw.values[0].reshape(SIDES).numpy(), ramp(3000))
    scaled = load_rows(folder, scale="minmax")
    assert np.allclose(scaled.scale.restore(scaled.values)[0].reshape(SIDES), ramp(3000))
    assert quiet(folder, scale="auto").divisor == 4095


def test_16_bits_with_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(ramp(60000)).save(tmp_path / "a.png", exif=exif)
    rows = load_rows(tmp_path)
    assert rows.image_shape == (6, 4)
    assert np.array_equal(rows.values[0].reshape(6, 4).numpy(), np.rot90(ramp(60000), -1))


@pytest.mark.parametrize("top", [65535, 3000, 200])
def test_16_bits_with_transparency(tmp_path, top):
    picture = ramp(top)
    clear = int(picture[1, 1])
    Image.fromarray(picture).save(tmp_path / "a.png", transparency=clear)
    rows = quiet(tmp_path)
    x = x_of(rows)[0].reshape(SIDES)
    assert x[1, 1] == 1
    picture[1, 1] = 0
    x[1, 1] = 0
    assert np.allclose(x, picture / rows.divisor, atol=1e-7)


def test_16_bits_with_alpha_are_read_with_8_and_that_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(GREY_AND_ALPHA)
    with pytest.warns(DataWarning, match="the upper 8 bits are read"):
        assert load_rows(tmp_path).values.tolist() == [[0x9C]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_tiff(tmp_path, mode):
    array = ramp(65535).astype(">u2" if mode.endswith("B") else "<u2")
    Image.frombytes(mode, SIDES[::-1], array.tobytes()).save(tmp_path / "a.tif")
    assert np.array_equal(load_rows(tmp_path).values[0].reshape(SIDES).numpy(), ramp(65535))


def test_16_bits_are_resized_without_loss_of_range(tmp_path):
    save(tmp_path, a=np.full((8, 8), 3000, np.uint16))
    assert quiet(tmp_path, image_size=(4, 4)).values.unique().tolist() == [3000]


def test_bytes_are_not_copied():
    table = ArrayTable(np.zeros((3, 12), np.uint8), "a", None, None, is_table=False)
    assert with_white(table, 200, 255, 255) is table


def test_what_is_transparent_is_white_in_a_dark_picture_of_a_run(tmp_path):
    schema = schema_of(save(tmp_path / "train", a=ramp(4000), b=ramp(3000)))
    picture = ramp(100)
    Image.fromarray(picture).save(tmp_path / "a.png", transparency=int(picture[1, 1]))
    with pytest.warns(DataWarning, match="laid on white"):
        rows = load_rows(tmp_path / "a.png", schema=schema)
    assert x_of(rows).reshape(SIDES)[1, 1] == 1


# -- pictures for a run


def schema_of(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return Schema.of(load_data(folder))


def test_new_pictures_are_on_the_scale_of_a_run_of_12_bits(tmp_path):
    schema = schema_of(save(tmp_path / "train", a=ramp(4000), b=ramp(3000), c=ramp(2000)))
    dark = load_rows(save(tmp_path / "dark", a=ramp(100)), schema=schema)
    assert dark.divisor == 4095
    assert float(x_of(dark).max()) == pytest.approx(100 / 4095)
    with pytest.warns(DataWarning, match="8 bits with values up to 255, of which 255 is taken"):
        new = load_rows(save(tmp_path / "new", a=ramp(255, np.uint8)), schema=schema)
    assert (new.divisor, float(x_of(new).max())) == (4095, 1)
    with pytest.warns(DataWarning, match="65,535 is taken for white"):
        wide = load_rows(save(tmp_path / "wide", a=ramp(65535)), schema=schema)
    assert float(x_of(wide).max()) == 1


def test_new_pictures_for_a_run_of_8_bits(tmp_path):
    schema = schema_of(save(tmp_path / "train", a=ramp(255, np.uint8), b=ramp(90, np.uint8)))
    same = load_rows(save(tmp_path / "same", a=ramp(90, np.uint8)), schema=schema)
    assert np.array_equal(same.values[0].reshape(SIDES).numpy(), ramp(90))
    widened = quiet(save(tmp_path / "widened", a=ramp(90) * 257), schema=schema)
    assert torch.equal(widened.values, same.values)
    with pytest.warns(DataWarning, match="4,095 is taken for white"):
        deep = load_rows(save(tmp_path / "deep", a=ramp(4095)), schema=schema)
    assert (deep.divisor, deep.values.dtype) == (255, torch.uint8)
    assert float(x_of(deep).max()) == 1
    said = load_rows(tmp_path / "deep", schema=schema, divisor=5000)
    assert float(x_of(said).max()) == pytest.approx(4095 / 5000)
    with pytest.raises(DataError, match="values from 0 to 1, but the training values run from 0"):
        load_rows(save(tmp_path / "mask", a=np.eye(4, 6, dtype=np.uint8)), schema=schema)


def test_new_masks_for_a_run_of_masks(tmp_path):
    mask = np.eye(4, 6, dtype=np.uint8)
    schema = schema_of(save(tmp_path / "train", a=mask, b=1 - mask))
    same = load_rows(save(tmp_path / "same", a=mask), schema=schema)
    assert same.divisor == 1
    bright = quiet(save(tmp_path / "bright", a=mask * 255), schema=schema)
    bits = load_rows(save(tmp_path / "bits", a=Image.fromarray(mask > 0)), schema=schema)
    assert np.array_equal(x_of(bright), x_of(same))
    assert np.array_equal(x_of(bits), x_of(same))


def test_pictures_for_a_run_of_fractions_and_of_16_levels(tmp_path):
    photo = save(tmp_path / "photo", a=ramp(255, np.uint8)) / "a.png"
    pictures = np.stack([ramp(16, np.float64) / 16] * 3)
    for name, array, divisor in (("unit", pictures, 1), ("levels", (pictures * 16).round(), 16)):
        np.save(tmp_path / f"{name}.npy", array)
        schema = Schema.of(load_data(tmp_path / f"{name}.npy", divisor=divisor))
        with pytest.warns(DataWarning, match="255 is taken for white"):
            rows = load_rows(photo, schema=schema)
        assert np.allclose(x_of(rows)[0], ramp(255).reshape(-1) / 255, atol=1e-6)


def test_a_run_on_values_as_they_are_gets_pictures_as_they_are(tmp_path):
    folder = save(tmp_path / "train", a=ramp(255, np.uint8), b=ramp(90, np.uint8))
    schema = Schema.of(load_data(folder, scale="none"))
    assert load_rows(folder / "a.png", schema=schema).values.max() == 255


def test_the_pictures_of_a_run_are_read_again_to_the_bit(tmp_path):
    for number, parts in enumerate(
        (
            {"a": ramp(255) * 257, "b": ramp(90) * 257},
            {"a": ramp(255), "b": ramp(3000)},
            {"a": np.eye(4, dtype=np.uint8), "b": Image.fromarray(np.eye(4) > 0)},
        )
    ):
        folder = save(tmp_path / str(number), **parts)
        first = quiet(folder)
        again = quiet(folder, schema=schema_of(folder))
        assert torch.equal(first.values.float(), again.values.float())
        assert first.divisor == again.divisor
