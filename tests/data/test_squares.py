"""From a file to the stored square; what decoding a JPEG at reduced scale changes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from own_folder import jpeg, shared_tar
from PIL import Image

from alexnet.data.pictures import fit_square, read_picture, read_square
from alexnet.data.squares import SPARE, look, square_of
from alexnet.errors import BadPicture, UnknownName
from alexnet.run.device import peak_memory


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Return some real photographs; every hundredth of the shared tar's first two thousand."""
    tar = shared_tar()
    if tar is None:
        pytest.skip(
            "no real photographs: set ALEXNET_SHARED_DATA to a folder with imagenette2-224.tar"
        )
    found = []
    with tarfile.open(tar) as archive:
        for number, member in enumerate(archive):
            if number % 100 == 50 and member.isreg():
                found.append(Image.open(archive.extractfile(member)).convert("RGB"))  # type: ignore[arg-type]
            if number == 2000:
                break
    return found


def as_taken(picture: Image.Image, scale: int) -> bytes:
    """A photograph as a camera has it: ``scale`` times as many pixels a side, chroma halved."""
    large = picture.resize(
        (scale * picture.width, scale * picture.height), Image.Resampling.LANCZOS
    )
    return jpeg(large, quality=92)


@pytest.mark.parametrize("scale", [4, 8])
def test_reduced_decoding_is_exact_enough(photographs: list[Image.Image], scale: int) -> None:
    """Beside the full decode: half a level in the mean, and hardly a pixel that shows it."""
    size = 50  # a fourth and less of what is there: 896 and 1792 pixels at 1/4 and 1/8 and more
    differences = []
    for picture in photographs:
        data = as_taken(picture, scale)
        seen = look(data, "it", size)
        assert seen.reduced
        exact = fit_square(read_picture(data), size).astype(int)
        differences.append(np.abs(np.asarray(seen.image) - exact))
    all_ = np.stack(differences)
    print(f"x{scale}: mean {all_.mean():.3f}, 99.9 % {np.quantile(all_, 0.999)}, max {all_.max()}")
    assert all_.mean() < 0.6
    assert np.quantile(all_, 0.999) <= 8


def test_less_than_twice_the_size_is_never_decoded(photographs: list[Image.Image]) -> None:
    for side in (4 * 64 - 2, 4 * 64, 8 * 64, 1000):
        data = jpeg(photographs[0].resize((side + 40, side)))
        with Image.open(__import__("io").BytesIO(data)) as image:
            image.draft(None, (SPARE * 64, SPARE * 64))  # type: ignore[arg-type]
            assert min(image.size) >= SPARE * 64
        assert look(data, "it", 64).reduced == (side >= 4 * 64)


def test_small_pictures_are_read_in_full() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    data = jpeg(picture)
    np.testing.assert_array_equal(read_square(data, 64), fit_square(read_picture(data), 64))
    np.testing.assert_array_equal(read_square(picture, 64), fit_square(picture, 64))


def test_every_way_in_gives_the_same(tmp_path: Path) -> None:
    data = jpeg(np.random.default_rng(1).integers(0, 256, (600, 700, 3), np.uint8))
    (tmp_path / "a.jpg").write_bytes(data)
    expected = np.asarray(look(data, "it", 32).image)
    for source in (data, tmp_path / "a.jpg", str(tmp_path / "a.jpg")):
        np.testing.assert_array_equal(read_square(source, 32), expected)


@pytest.mark.parametrize("shape", [(60, 80), (90, 41), (64, 64), (20, 33), (7, 50)])
def test_stretched_is_what_pillow_makes_of_the_whole_picture(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR))
    png = io.BytesIO()
    Image.fromarray(picture).save(png, "PNG")
    for source in (picture, png.getvalue()):
        np.testing.assert_array_equal(read_square(source, 48, "stretch"), expected)
    np.testing.assert_array_equal(read_square(picture, 48), fit_square(picture, 48, "crop"))


def test_stretched_shows_what_the_crop_leaves_out() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :10] = 255
    assert fit_square(picture, 32).max() == 0
    assert (fit_square(picture, 32, "stretch")[:, :3] == 255).all()


@pytest.mark.parametrize("shape", [(30_000, 1), (1, 30_000)])
def test_a_strip_is_stretched_a_direction_at_a_time(shape: tuple[int, int]) -> None:
    """One column of a thousandth of the width of the square that it becomes, or one row."""
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    exact = Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR)
    found = fit_square(picture, 224, "stretch")
    assert np.abs(found.astype(int) - np.asarray(exact)).max() <= 1


def test_a_long_strip_costs_little() -> None:
    """Pillow alone would make 224 x 10,000,000 pixels of it first: 9 GB."""
    before = peak_memory()  # nothing on Windows, where this is no test
    assert fit_square(np.full((10_000_000, 1, 3), 7, np.uint8), 224, "stretch").max() == 7
    assert peak_memory() - before < 1 << 30


def test_a_large_jpeg_is_stretched_from_a_reduced_scale() -> None:
    data = jpeg(Image.linear_gradient("L").resize((1600, 1200)).convert("RGB"), quality=95)
    seen = look(data, "it", 64, "stretch")
    assert seen.reduced
    exact = fit_square(read_picture(data), 64, "stretch").astype(int)
    assert np.abs(np.asarray(seen.image) - exact).mean() < 0.6


def test_another_fit_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"data\.fit 'strech'; did you mean 'stretch'"):
        fit_square(np.zeros((4, 4, 3), np.uint8), 2, "strech")


def test_a_picture_of_many_pixels_is_read_as_long_as_it_is_a_jpeg() -> None:
    """48 megapixels, as a telephone takes them: more than are decoded, fewer than are stored."""
    seen = look(jpeg(Image.new("RGB", (8064, 6048), "red")), "it", 256)
    assert (seen.width, seen.height, seen.reduced) == (8064, 6048, True)
    with pytest.raises(BadPicture, match=r"12,000 x 14,000 = .* more than the 160,000,000"):
        look(jpeg(Image.new("L", (12_000, 14_000))), "it", 256)


def test_bad_ones_say_why(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match="is empty"):
        read_square(b"", 8)
    with pytest.raises(BadPicture, match="is a folder"):
        read_square(tmp_path, 8)
    with pytest.raises(BadPicture, match="no such file"):
        read_square(tmp_path / "none.jpg", 8)


@pytest.mark.parametrize("size", [7, 32, 100])
def test_a_wide_picture_cut_before_it_is_scaled_down_is_the_same(size: int) -> None:
    """Beside one resize of the whole picture, and the centre of that; strips up to 8 : 1."""
    draw = np.random.default_rng(size)
    for _ in range(40):
        height = int(draw.integers(1, 150))
        width = int(draw.integers(height, 8 * height + 1))
        image = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        wide = size * width // height
        whole = image.resize((wide, size), Image.Resampling.BILINEAR)
        left = round((wide - size) / 2)
        expected = whole.crop((left, 0, left + size, size))
        np.testing.assert_array_equal(square_of(image, size), expected, err_msg=f"{image.size}")


def test_a_picture_of_that_very_size_outlives_its_file() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    seen = look(stream.getvalue(), "it", 40)
    assert type(seen.image) is Image.Image
    np.testing.assert_array_equal(seen.image, pixels)
