"""Writes image files of more than 8 bits per channel, which Pillow cannot write."""

import struct
import zlib

import numpy as np


def write_png(path, values, *, significant_bits=None, exif=None):
    """Write (H, W), (H, W, 2), (H, W, 3), or (H, W, 4) as a PNG file of 16 bits per channel."""
    array = values if values.ndim == 3 else values[..., None]
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    bits = b"" if significant_bits is None else chunk(b"sBIT", bytes([significant_bits] * channels))
    bits += b"" if exif is None else chunk(b"eXIf", exif)
    data = chunk(b"IHDR", header) + bits + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def write_tiff(path, *pages, order="<", is_big=False, deflate=False, tile=None, planar=False, predictor=1, **tags):
    """Write pages (H, W) or (H, W, S) of any type; predictor 2 or 3 needs deflate. tags: `t262=0` replaces a tag.

    A page may be a tuple of an array and its own tags.
    """
    body = bytearray(struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 0)[:8])
    if is_big:
        body += bytes(8)
    else:
        body[2:8] = struct.pack(f"{order}HL", 42, 0)
    link = 8 if is_big else 4
    for page in pages:
        array, more = page if isinstance(page, tuple) else (page, {})
        entries = _write_samples(body, array, order, deflate, tile, planar, predictor)
        entries |= {int(name[1:]): value for name, value in (tags | more).items()}
        lists = {}
        for tag, value in entries.items():
            if len(value if isinstance(value, tuple) else (value,)) > 1:
                lists[tag] = len(body)
                body += struct.pack(f"{order}{len(value)}{'Q' if is_big else 'L'}", *value)
        struct.pack_into(f"{order}{'Q' if is_big else 'L'}", body, link, len(body))
        body += struct.pack(f"{order}{'Q' if is_big else 'H'}", len(entries))
        for tag, value in sorted(entries.items()):
            count = len(value) if isinstance(value, tuple) else 1
            single = lists.get(tag, value if not isinstance(value, tuple) else value[0])
            body += struct.pack(f"{order}HH{'QQ' if is_big else 'LL'}", tag, 16 if is_big else 4, count, single)
        link = len(body)
        body += bytes(8 if is_big else 4)
    path.write_bytes(body)


def _write_samples(body, array, order, deflate, tile, planar, predictor):
    array = array if array.ndim == 3 else array[..., None]
    height, width, samples = array.shape
    pieces = []
    for plane in np.moveaxis(array, -1, 0)[..., None] if planar else [array]:
        side, wide = tile or (4, width)
        for top in range(0, height, side):
            for left in range(0, width, wide):
                block = plane[top : top + side, left : left + wide]
                if tile:
                    block = np.pad(block, ((0, side - block.shape[0]), (0, wide - block.shape[1]), (0, 0)))
                pieces.append(_encode(block, order, predictor))
    if deflate:
        pieces = [zlib.compress(piece) for piece in pieces]
    offsets = []
    for piece in pieces:
        offsets.append(len(body))
        body += piece
    sizes = tuple(map(len, pieces))
    where = (
        {324: tuple(offsets), 325: sizes, 322: wide, 323: side} if tile else {273: tuple(offsets), 279: sizes, 278: 4}
    )
    kinds = {"u": 1, "i": 2, "f": 3}
    described = {256: width, 257: height, 258: (array.dtype.itemsize * 8,) * samples, 259: 8 if deflate else 1}
    described |= {262: 1 if samples < 3 else 2, 277: samples, 284: 2 if planar else 1, 317: predictor}
    described |= {338: 2} if samples in (2, 4) else {}
    return described | {339: (kinds[array.dtype.kind],) * samples} | where


def _encode(block, order, predictor):
    size = block.dtype.itemsize
    if predictor == 2:
        block = block.view(f"u{size}")
        block = np.concatenate([block[:, :1], np.diff(block, axis=1)], axis=1)
    if predictor == 3:
        rows, _, samples = block.shape
        planes = block.astype(f">f{size}").reshape(rows, -1).view("u1").reshape(rows, -1, size).swapaxes(1, 2)
        flat = planes.reshape(rows, -1, samples)
        return np.concatenate([flat[:, :1], np.diff(flat, axis=1)], axis=1).tobytes()
    return block.astype(block.dtype.newbyteorder(order)).tobytes()
