"""Result images: real PNGs of the right size and ratio, a few kilobytes each, no two alike."""

import hashlib
import struct
import zlib
from itertools import pairwise
from typing import Final

LONGEST_SIDE: Final = {"1k": 1024, "2k": 2048, "4k": 4096}
GRID: Final = 8  # cells a side, mirrored left to right


def pixel_size(aspect_ratio: str, resolution: str) -> tuple[int, int]:
    """Width and height in pixels; what the model would choose itself is drawn square."""
    across, down = (1, 1) if aspect_ratio == "auto" else map(int, aspect_ratio.split(":"))
    longest = LONGEST_SIDE[resolution]
    scale = longest / max(across, down)
    return round(across * scale), round(down * scale)


def draw_png(name: str, *, width: int, height: int) -> bytes:
    """A picture in four colours that the name decides: the same name, the same picture."""
    seed = hashlib.sha256(name.encode()).digest()
    header = struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0)  # two bits a pixel, by palette
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", seed[:12]),
            _chunk(b"IDAT", _pixels(seed, width=width, height=height)),
            _chunk(b"IEND", b""),
        )
    )


def _pixels(seed: bytes, *, width: int, height: int) -> bytes:
    bytes_in_row = (width + 3) // 4
    # Filter 2 says "as above", so a band of equal rows costs its first row and zeros: deflate makes little of those.
    same_again = b"\x02" + bytes(bytes_in_row)
    packer = zlib.compressobj(level=6)
    packed = []
    edges = [height * band // GRID for band in range(GRID + 1)]
    for band, (top, bottom) in enumerate(pairwise(edges)):
        if bottom > top:
            packed.append(packer.compress(b"\x00" + _row(seed, band, bytes_in_row)))
            packed.append(packer.compress(same_again * (bottom - top - 1)))
    packed.append(packer.flush())
    return b"".join(packed)


def _row(seed: bytes, band: int, length: int) -> bytes:
    edges = [length * cell // GRID for cell in range(GRID + 1)]
    cells = (min(cell, GRID - 1 - cell) for cell in range(GRID))
    return b"".join(
        bytes([_colour(seed, band, cell) * 0b01010101]) * (right - left)
        for cell, (left, right) in zip(cells, pairwise(edges), strict=True)
    )


def _colour(seed: bytes, band: int, cell: int) -> int:
    return seed[12 + (band * GRID // 2 + cell) % 20] >> (2 * (band % 4)) & 0b11


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
