"""Images of any mode as 8-bit RGB: with their meaning kept, or refused, naming the mode.

Pillow's own ``convert("RGB")`` clips 16 bits to white, drops alpha (so that what was hidden by
transparency is seen), and leaves the camera's orientation to whoever shows the image.
"""

from typing import Any

import numpy as np
from PIL import Image

from dimr.runtime.errors import DimrError

WHITE = (255, 255, 255)
"""What transparent images are put on."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts an image upright, by the tag's value; 1 is upright, others mean nothing."""
CONVERTED = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes that Pillow converts with their meaning kept, where nothing is transparent."""
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
KEYED = ("1", "L", "RGB", "I", *SIXTEEN_BITS)
"""Modes in which one colour may be transparent."""
SCALES = {"L;2": 85, "L;4": 17}
"""From grey values as PNG stores them to 8 bits, by Pillow's name of the storage."""


def as_rgb(
    image: Image.Image, background: tuple[int, int, int] = WHITE, orient: bool = True
) -> Image.Image:
    """An image in RGB, 8 bits per channel, that looks like the given one.

    - 16-bit grey is scaled: value / 257, rounded. 32-bit whole numbers and floats have no known
      range, and are refused.
    - What is transparent, by an alpha channel, a palette or a key colour, is put on ``background``
      (only here): alpha * colour + (1 - alpha) * background, rounded.
    - All other modes are converted by Pillow; colour profiles are ignored.
    - With ``orient``, the image is turned as its EXIF (or XMP) orientation says.

    Args:
        image: of any mode, opened from a file or not.
        background: red, green and blue, 0 to 255 each.
        orient: False for sets that are used as they are stored (ILSVRC2012: ADM ignores it).

    Returns:
        The image itself if there is nothing to do, else a new one; without EXIF or other metadata,
        so that it cannot be turned twice.

    Raises:
        DimrError: a mode whose values have no known range, or an unknown mode.
    """
    key = _key_colour(image)  # before the pixels are read: reading forgets how they were stored
    image.load()
    turn = TURNS.get(_orientation(image)) if orient else None
    rgb = _converted(image, key, background)
    if turn is not None:
        rgb = rgb.transpose(turn)
    if rgb is image and (image.info or type(image) is not Image.Image):
        rgb = image.copy()
    if rgb is not image:
        rgb.info = {}
    return rgb


def _converted(image: Image.Image, key: Any, background: tuple[int, int, int]) -> Image.Image:
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() >= 2**16:
            raise DimrError(f"mode {image.mode}: values beyond 16 bits")
        rgb = Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
        return rgb if key is None else _on(background, rgb, values != key)
    if image.mode in WITH_ALPHA or (image.mode == "P" and image.has_transparency_data):
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return _on(background, rgba.convert("RGB"), rgba.getchannel("A"))
    if image.mode not in CONVERTED:
        raise DimrError(
            f"mode {image.mode}: its values have no known range; save the image with 8 or 16 bits "
            "per channel"
        )
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if key is None:
        return rgb
    return _on(background, rgb, (np.asarray(rgb) != np.array(key)).any(axis=-1))


def _on(background: tuple[int, int, int], rgb: Image.Image, alpha: Any) -> Image.Image:
    """Colours on a background; ``alpha``: mode L, or booleans (H, W) that say what is seen."""
    if isinstance(alpha, np.ndarray):
        alpha = Image.fromarray(np.where(alpha, 255, 0).astype(np.uint8))
    canvas = Image.new("RGB", rgb.size, background)
    canvas.paste(rgb, mask=alpha)
    return canvas


def _key_colour(image: Image.Image) -> Any:
    """The one transparent colour of an image without alpha or palette; None: there is none.

    Grey in the values of 16-bit images, else red, green and blue as ``convert`` gives them.
    """
    key = image.info.get("transparency")
    if key is None or image.mode not in KEYED:
        return None
    tile: Any = getattr(image, "tile", None) or [(None,) * 4]
    stored = tile[0][3]  # known only until the pixels are read
    if image.mode == "RGB":
        if stored == "RGB;16B" or max(key) > 255:
            raise DimrError(
                "mode RGB with 16 bits per channel and a transparent colour: only 8 of the bits "
                "can be read, so what is transparent is not known; save it with an alpha channel"
            )
        return key
    if image.mode == "1":
        return (255 if key else 0,) * 3
    if image.mode == "L":
        return (key * SCALES.get(stored, 1),) * 3
    return key


def _orientation(image: Image.Image) -> int:
    """The value of the tag; 1, upright, if it is missing or cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged metadata may raise almost anything; the pixels are intact
        return 1
    return found if isinstance(found, int) else 1
