"""What a picture to start from must be: a URL, or base64 of a PNG or JPEG within the documented limits."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

MAX_BYTES = 10_000_000
MIN_SIDE = 300
MAX_RATIO = 2.5
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# The JPEG markers that start a frame and so carry its size; C4, C8 and CC are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def is_inline(image: str) -> bool:
    """Whether the picture itself stands in the request, in base64, rather than its URL."""
    return not image.startswith(("http://", "https://"))


def problem_with_image(image: str) -> str | None:
    """What to write instead, or None. A URL's picture is not fetched: the provider judges that one."""
    if not is_inline(image):
        return None if urlsplit(image).hostname else "is no URL: write https://host/path"
    if image.startswith("data:"):
        return "must be base64 without the 'data:…;base64,' prefix: write only what follows the comma"
    try:
        content = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        return "must be a URL that starts with https:// or plain base64"
    if not content:
        return "is empty: write a URL or base64"
    if len(content) > MAX_BYTES:
        return f"holds {len(content)} bytes: at most {MAX_BYTES} are accepted, so write its URL or shrink it"
    size = pixel_size(content)
    return None if size is None else _problem_with_size(*size)


def pixel_size(content: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG in pixels; None where the bytes do not tell."""
    if content.startswith(_PNG) and len(content) >= 24:
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return _jpeg_size(content) if content.startswith(_JPEG) else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(content):
        if content[position] != 0xFF:
            return None
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _FRAMES:
            height = int.from_bytes(content[position + 5 : position + 7], "big")
            return int.from_bytes(content[position + 7 : position + 9], "big"), height
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None


def _problem_with_size(width: int, height: int) -> str | None:
    if min(width, height) < MIN_SIDE:
        return f"is {width}x{height} pixels: each side must have {MIN_SIDE} or more"
    if max(width, height) > MAX_RATIO * min(width, height):
        return f"is {width}x{height} pixels: the ratio must be between 1:2.5 and 2.5:1"
    return None
