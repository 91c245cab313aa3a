"""Photographs and masks as arrays: PNG, JPEG and the like, by Pillow."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from harness.data.disk import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")

# Pillow's other modes have more than 8 bits a channel, which a conversion would cut off.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

MOST_PIXELS = 1 << 26


def read_image(
    body: bytes, where: str, channels: int, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """An image file's content as uint8 (height, width, channels), of 1 channel (luminance) or 3 (RGB).

    It is turned upright by its EXIF orientation, and resized to `size` (height, width) where that is given,
    by Pillow's bilinear filter, which averages where it shrinks. Opacity is left out; of an animation the
    first frame is read. Raises `DataError`, beginning with `where`, for what is no image, damaged,
    truncated, deeper than 8 bits or larger than 64 million pixels.
    """
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise DataError(
                    f"{where}: {opened.width} x {opened.height} pixels are more than {MOST_PIXELS}"
                )
            if opened.mode not in MODES:
                raise DataError(
                    f"{where}: images of the kind {opened.mode!r} are not read, 8 bits a channel are"
                )
            opened.load()
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except Image.DecompressionBombError as error:
        raise DataError(f"{where}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{where}: no image, damaged or truncated ({error})") from error
    if size is not None and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, channels)
