"""TIFF files written byte by byte (TIFF 6.0), so that what a reader finds is known without another library."""

from __future__ import annotations

import struct

SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(*images, order="<", more=None):
    """Uncompressed images [H, W] or [H, W, C], one directory each; `more` are tags {number: SHORT} of all."""
    data = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    for index, image in enumerate(images):
        channels = 1 if image.ndim == 2 else image.shape[2]
        pixels = image.astype(image.dtype.newbyteorder(order)).tobytes()
        tags = {
            256: image.shape[1],
            257: image.shape[0],
            258: 8 * image.itemsize,
            259: 1,
            262: 1 if channels == 1 else 2,
            273: 0,
            277: channels,
            278: image.shape[0],
            279: len(pixels),
            339: SAMPLE_FORMATS[image.dtype.kind],
            **(more or {}),
        }
        size = 2 + 12 * len(tags) + 4
        bits = struct.pack(f"{order}{channels}H", *[8 * image.itemsize] * channels) if channels > 2 else b""
        tags[273] = len(data) + size + len(bits)
        entries = b""
        for tag in sorted(tags):
            kind = "I" if tag in (273, 279) else "H"
            if tag == 258 and bits:
                entries += struct.pack(f"{order}HHII", tag, 3, channels, len(data) + size)
            elif kind == "I":
                entries += struct.pack(f"{order}HHII", tag, 4, 1, tags[tag])
            else:
                entries += struct.pack(f"{order}HHIHH", tag, 3, 1, tags[tag], 0)
        end = tags[273] + len(pixels)
        following = end + end % 2 if index + 1 < len(images) else 0
        data += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", following) + bits + pixels
        data += b"\0" * (len(data) % 2)
    return data
