"""Photographs and masks as arrays: PNG, JPEG and the like, by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from harness.data.disk import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")

# Pillow's other modes have more than 8 bits a channel, which a conversion would cut off.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

MOST_PIXELS = 1 << 26

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


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
        image = image.resize((size[1], size[0]), BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, channels)


def resize(
    images: npt.NDArray[Any], size: tuple[int, int], *, nearest: bool = False
) -> npt.NDArray[np.uint8]:
    """Images uint8 (count, height, width, channels of 1 or 3) at `size` (height, width): by Pillow's bilinear
    filter, or for masks by the nearest pixel.
    """
    height, width = size
    found = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for place, image in enumerate(images):
        drawn = Image.fromarray(np.squeeze(image, -1) if image.shape[-1] == 1 else image)
        found[place] = np.asarray(drawn.resize((width, height), NEAREST if nearest else BILINEAR)).reshape(
            found.shape[1:]
        )
    return found
