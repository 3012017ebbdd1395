"""Images of every mode as RGB: computed here pixel by pixel, or refused by the mode's name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from dimr.data.imagenet import center_crop
from dimr.data.pictures import as_rgb
from dimr.runtime.errors import DimrError

RED, GREEN = (200, 10, 30), (9, 99, 199)
BACKGROUND = (255, 255, 255)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pixels(image, **options):
    found = as_rgb(image, **options)
    assert found.mode == "RGB"
    return np.asarray(found)


def on(background, colours, alpha):
    """alpha * colour + (1 - alpha) * background, rounded."""
    share = alpha[..., None] / 255
    return np.rint(colours * share + np.array(background) * (1 - share)).astype(np.uint8)


def saved(image, kind="PNG", **options):
    """An image as it is opened from a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def png(depth, colour, rows, transparent=None, size=None):
    """A PNG of any depth, which Pillow does not write: rows of bytes, and the tRNS chunk."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    width, height = size or (len(rows[0]), len(rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    if transparent is not None:
        data += chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    return Image.open(io.BytesIO(data + chunk(b"IDAT", packed) + chunk(b"IEND", b"")))


# --- modes without transparency -------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_plain_modes_are_converted_as_pillow_does(mode):
    image = Image.fromarray(noise(7, 9, 3)).convert(mode)
    assert np.array_equal(pixels(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_jpegs_are_converted_as_before_bit_for_bit(mode):
    image = saved(Image.fromarray(noise(40, 56, 3)).convert(mode), "JPEG", quality=90)
    assert image.mode == mode
    wanted = np.asarray(image.copy().convert("RGB"))
    assert np.array_equal(pixels(image), wanted)


VALUES = np.array([0, 1, 128, 129, 256, 257, 385, 386, 10_000, 32_768, 65_406, 65_407, 65_535])


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *((mode, form) for mode in ("I;16", "I;16L", "I;16B") for form in ("memory", "TIFF")),
        *((mode, "PNG") for mode in ("I;16", "I;16B")),
    ],
)
def test_16_bit_grey_is_scaled_and_rounded(mode, form):
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (len(VALUES), 1), VALUES.astype(order).tobytes())
    if form != "memory":
        image = saved(image, form)
    grey = np.rint(VALUES / 257).astype(np.uint8)
    assert np.array_equal(pixels(image), np.repeat(grey, 3).reshape(1, -1, 3))


def test_a_16_bit_ramp_looks_as_its_8_bit_one():
    ramp = np.linspace(10_000, 50_000, 32 * 32).reshape(32, 32).astype(np.uint16)
    deep = saved(Image.fromarray(ramp))
    assert deep.mode == "I;16"
    shallow = Image.fromarray((ramp >> 8).astype(np.uint8))
    difference = center_crop(deep, 16).astype(int) - center_crop(shallow, 16)
    assert np.abs(difference).max() <= 1
    assert center_crop(deep, 16).min() < 50


def test_16_bit_pngs_of_older_pillows_which_call_them_i():
    image = Image.fromarray(VALUES.astype(np.int32)[None])
    image.format = "PNG"
    assert image.mode == "I"
    assert pixels(image)[0, :, 0].tolist() == np.rint(VALUES / 257).astype(int).tolist()
    image = Image.fromarray(np.array([[70_000]], np.int32))
    image.format = "PNG"
    with pytest.raises(DimrError, match="mode I: values beyond 16 bits"):
        as_rgb(image)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_of_no_known_range_are_refused_by_name(mode):
    image = Image.new(mode, (4, 4), 100)
    for convert in (as_rgb, lambda image: center_crop(image, 2)):
        with pytest.raises(DimrError, match=rf"^mode {mode}: its values have no known range"):
            convert(image)


# --- transparency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
@pytest.mark.parametrize("background", [BACKGROUND, GREEN])
def test_alpha_is_put_on_the_background(mode, background):
    colours, alpha = noise(16, 16, 3), noise(16, 16, seed=1)
    alpha[:4], alpha[4:8] = 0, 255
    if mode in ("LA", "La"):
        colours = np.repeat(colours[..., :1], 3, axis=-1)
    image = Image.fromarray(np.concatenate([colours, alpha[..., None]], -1))
    if mode == "PA":
        image = Image.fromarray(colours).quantize(64).convert("PA")
        image.putalpha(Image.fromarray(alpha))
        colours = np.asarray(image.convert("RGBA"))[..., :3]
    elif mode in ("LA", "La"):
        image = image.convert("LA")
        image = image if mode == "LA" else image.convert("La")
    elif mode == "RGBa":
        image = image.convert("RGBa")
    found = pixels(image, background=background)
    assert np.array_equal(found[:4], np.broadcast_to(background, (4, 16, 3)))
    assert np.array_equal(found[4:8], colours[4:8])
    # colours that were multiplied by alpha are known only as well as that has bits
    tolerance = 2 if mode in ("RGBa", "La") else 0
    assert np.abs(found.astype(int) - on(background, colours, alpha)).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "memory"])
def test_what_lies_hidden_under_a_transparent_border_is_not_seen(kind):
    image = noise(32, 32, 4)
    image[..., 3] = 0
    image[8:24, 8:24] = (*RED, 255)
    opened = Image.fromarray(image) if kind == "memory" else saved(Image.fromarray(image))
    found = pixels(opened)
    wanted = np.full((32, 32, 3), 255)
    wanted[8:24, 8:24] = RED
    assert np.array_equal(found, wanted)
    assert np.array_equal(center_crop(opened, 32), wanted)


PALETTE = [*RED, 0, 0, 255, 1, 2, 3]


def indexed(**options):
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette(PALETTE)
    return saved(image, **options)


def test_palettes_with_transparency():
    assert pixels(indexed()).tolist() == [[list(RED), [0, 0, 255], [1, 2, 3]]]
    assert pixels(indexed(transparency=1)).tolist() == [[list(RED), [255] * 3, [1, 2, 3]]]
    half = indexed(transparency=bytes([255, 128, 0]))
    assert pixels(half).tolist() == [[list(RED), [127, 127, 255], [255] * 3]]
    in_palette = Image.frombytes("P", (2, 1), bytes([0, 1]))
    in_palette.putpalette([*RED, 255, 0, 0, 255, 0], "RGBA")
    assert pixels(in_palette).tolist() == [[list(RED), [255] * 3]]


def test_one_transparent_colour():
    colour = saved(Image.fromarray(np.array([[RED, GREEN]], np.uint8)), transparency=GREEN)
    assert pixels(colour).tolist() == [[list(RED), [255] * 3]]
    grey = saved(Image.fromarray(np.array([[7, 8]], np.uint8)), transparency=7)
    assert pixels(grey, background=RED).tolist() == [[list(RED), [8] * 3]]
    bits = saved(Image.fromarray(np.array([[True, False]])), transparency=0)
    assert pixels(bits, background=RED).tolist() == [[[255] * 3, list(RED)]]


def test_one_transparent_colour_of_other_depths():
    two = png(2, 0, [bytes([0b00_01_10_11])], (2,), (4, 1))
    assert pixels(two, background=RED)[0].tolist() == [[0] * 3, [85] * 3, list(RED), [255] * 3]
    four = png(4, 0, [bytes([0x3F])], (3,), (2, 1))
    assert pixels(four, background=RED)[0].tolist() == [list(RED), [255] * 3]
    deep = png(16, 0, [struct.pack(">3H", 1000, 1001, 65535)], (1000,), (3, 1))
    assert pixels(deep, background=RED)[0].tolist() == [list(RED), [4] * 3, [255] * 3]


def test_16_bits_a_channel():
    colour = png(16, 2, [struct.pack(">3H", 65535, 257 * 9, 0)], None, (1, 1))
    assert pixels(colour).tolist() == [[[255, 9, 0]]]
    grey = png(16, 4, [struct.pack(">4H", 65535, 0, 257 * 9, 65535)], None, (2, 1))
    assert pixels(grey).tolist() == [[[255] * 3, [9] * 3]]
    with pytest.raises(
        DimrError, match="mode RGB with 16 bits per channel and a transparent colour"
    ):
        as_rgb(png(16, 2, [struct.pack(">3H", 1, 2, 3)], (1, 2, 3), (1, 1)))


# --- orientation ----------------------------------------------------------------------------------


def oriented(orientation, kind="JPEG", size=(48, 32), mode="RGB"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    corners = noise(4, 4, 3)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR).convert(mode)
    return saved(image, kind, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_are_upright_and_turned_once(orientation, kind, mode):
    image = oriented(orientation, kind, mode=mode)
    wanted = np.asarray(
        ImageOps.exif_transpose(oriented(orientation, kind, mode=mode)).convert("RGB")
    )
    found = as_rgb(image)
    assert found.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.array_equal(np.asarray(found), wanted)
    assert dict(found.getexif()) == {}
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(found)), wanted)
    assert np.array_equal(np.asarray(as_rgb(found)), wanted)
    assert np.array_equal(center_crop(image, 32), center_crop(found, 32))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_can_be_ignored_for_good(orientation):
    image = oriented(orientation)
    stored = as_rgb(image, orient=False)
    assert np.array_equal(np.asarray(stored), np.asarray(image))
    assert np.array_equal(np.asarray(as_rgb(stored)), np.asarray(image))


@pytest.mark.parametrize("wrong", [0, 9, 60_000])
def test_orientations_that_mean_nothing(wrong):
    image = oriented(wrong)
    assert np.array_equal(pixels(image), np.asarray(image))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_notes_that_are_damaged_do_not_matter():
    image = oriented(6)
    for broken in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"x" * 50):
        again = saved(image.copy(), "JPEG", exif=broken, quality=95)
        assert again.size == (48, 32)
        assert np.array_equal(pixels(again), np.asarray(again))


def test_a_turned_image_with_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.zeros((2, 3, 4), np.uint8)
    image[0, 0] = (*RED, 255)
    found = pixels(saved(Image.fromarray(image), exif=exif))
    assert found.shape == (3, 2, 3)
    assert found[0, 1].tolist() == list(RED)
    assert (found.reshape(-1, 3) == 255).all(axis=1).sum() == 5


def test_the_image_that_is_given_stays_as_it_is():
    image = oriented(6)
    before = np.asarray(image).copy()
    as_rgb(image)
    assert np.array_equal(np.asarray(image), before)
    assert image.getexif()[0x0112] == 6
    plain = Image.fromarray(noise(4, 4, 3))
    assert as_rgb(plain) is plain
