"""Mutations of IDX, NumPy, zip and PNG files whose lengths and checksums still fit."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile
import zlib
from random import Random

from fuzzing.blind import BLIND, NUMBERS


def idx_header(content: bytes, rng: Random) -> bytes:
    """Another type, number of sides, or side; inside gzip if it is packed."""
    packed = content[:2] == b"\x1f\x8b"
    out = bytearray(_unpacked(content) if packed else content)
    if len(out) >= 8:
        where = rng.randrange(3)
        if where == 0:
            out[2] = rng.choice((0, 8, 9, 10, 11, 12, 13, 14, 255))
        elif where == 1:
            out[3] = rng.choice((0, 1, 2, 4, 5, 8, 9, 255))
        else:
            at = 4 + 4 * rng.randrange((len(out) - 4) // 4 if len(out) < 16 else 3)
            out[at : at + 4] = (rng.choice(NUMBERS) % 2**32).to_bytes(4, "big")
    return gzip.compress(bytes(out), mtime=0) if packed else bytes(out)


def pack_again(content: bytes, rng: Random) -> bytes:
    """Packed, or packed once more, or two archives one after the other."""
    packed = gzip.compress(content, mtime=0)
    return packed + packed if rng.random() < 0.3 else packed


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content


DESCRS = ("'<f8'", "'>f4'", "'<f2'", "'<f16'", "'|b1'", "'|u1'", "'<i8'", "'>u8'", "'<c16'", "'|O'",
          "'<U3'", "'<U0'", "'|S0'", "'|V8'", "'|V0'", "'<M8[ns]'", "[('a', '<f8'), ('b', '|O')]",
          "[('a', '<f8')]", "('<f8', (1000000, 1000000))", "''", "None", "7", "'garbage'",
          "[]", "{}", "'<f8,<f8'", "('|u1', (4,))")  # fmt: skip
SHAPES = ("()", "(3,)", "(0, 4)", "(4, 0)", "(-1, 4)", "(-3, -4)", "(True, 4)", "(4.0, 4)",
          "[4, 4]", "('4', 4)", "(4, 4, 4, 4, 4)", "(1,) * 9", "(2147483648, 4)", "(99999999, 99)",
          "(4294967296, 4294967296)", "(18446744073709551616, 1)", "(1,) ", "None", "((4, 4),)",
          "(4, 4, )", "(" * 300, "(4, 1073741824)", "(1, 3000000000)",
          f"({', '.join(['1'] * 70)})")  # fmt: skip


def npy_header(content: bytes, rng: Random) -> bytes:
    """Another dtype, shape or order, with a length of the header that fits, mostly."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        return content
    wide = content[6] >= 2
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = 12 if wide else 10
    header, rest = content[start : start + length].decode("latin1"), content[start + length :]
    descr, order, shape = _fields(header)
    which = rng.randrange(4)
    if which == 0:
        descr = rng.choice(DESCRS)
    elif which == 1:
        shape = rng.choice(SHAPES)
    elif which == 2:
        order = rng.choice(("True", "1", "None", "'yes'"))
    else:
        descr, shape = rng.choice(DESCRS), rng.choice(SHAPES)
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if rng.random() < 0.1:
        text = rng.choice((text * 2, text[:-3], "__import__('os').getpid()", "[" * 1000, ""))
    text += " " * (-(len(text) + start + 1) % 64) + "\n"
    size = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS)
    version = bytes([rng.choice((1, 1, 1, 2, 3, 9)), rng.choice((0, 0, 0, 1))])
    count = 4 if version[0] >= 2 else 2
    head = (size % 2 ** (8 * count)).to_bytes(count, "little") + text.encode("latin1")
    return content[:6] + version + head + rest


def npy_values(content: bytes, rng: Random) -> bytes:
    """A number at the edge of its range among the values: a shape or a start, in sparse files."""
    start = content.find(b"\n") + 1
    if start + 8 > len(content):
        return content
    at = start + 8 * rng.randrange((len(content) - start) // 8)
    number = rng.choice((*NUMBERS, 10**6, 10**8, 10**9)).to_bytes(8, "little")
    return content[:at] + number + content[at + 8 :]


def _fields(header: str) -> tuple[str, str, str]:
    """Dtype, order and shape as they are written in a header, or some others."""
    try:
        _, _, tail = header.partition("'descr': ")
        descr, _, tail = tail.partition(", 'fortran_order': ")
        order, _, tail = tail.partition(", 'shape': ")
        return descr, order, tail[: tail.rindex(")") + 1]
    except ValueError:
        return "'<f8'", "False", "(4, 4)"


def npz_members(content: bytes, rng: Random) -> bytes:
    """One array of the archive is mutated, named anew, doubled or dropped; the rest fits."""
    members = _members(content)
    if not members:
        return content
    at = rng.randrange(len(members))
    name, array = members[at]
    which = rng.randrange(5)
    if which <= 1:
        members[at] = name, rng.choice((npy_header, npy_values, npy_values, *BLIND))(array, rng)
    elif which == 2:
        names = ("x.npy", "y.npy", "train.npy", "test.npy", "../x.npy", ".npy", "x", "X.npy",
                 "a/b.npy", "x\n.npy", "é\x00.npy")  # fmt: skip
        members[at] = rng.choice(names), array
    elif which == 3:
        members.append(members[at])
    else:
        del members[at]
    return _archive(members, rng)


def npz_promise(content: bytes, rng: Random) -> bytes:
    """An array whose header promises gigabytes, which the directory of the archive bears out."""
    members = _members(content)
    if not members:
        return content
    at = rng.randrange(len(members))
    name, array = members[at]
    if array[:6] != b"\x93NUMPY" or b"\n" not in array:
        return content
    header, rest = array[10 : array.index(b"\n")].decode("latin1"), array[array.index(b"\n") + 1 :]
    descr, order, shape = _fields(header)
    sides = shape.strip("()").split(",")
    sides[0] = str(rng.choice((10**6, 10**8, 10**9, 2**31)))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': ({','.join(sides)}), }}\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")
    members[at] = name, head + rest
    out = bytearray(_archive(members, rng))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        for start in range(len(out)):
            if out.startswith(signature, start):
                out[start + offset : start + offset + 4] = b"\xfe\xff\xff\xff"
    return bytes(out)


def _members(content: bytes) -> list[tuple[str, bytes]]:
    """The arrays of an archive; none of a damaged one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # damaged by a mutation before
        return []


def _archive(members: list[tuple[str, bytes]], rng: Random) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubled names
        with zipfile.ZipFile(out, "w", rng.choice((0, 8, 12, 14))) as archive:
            for name, array in members:
                archive.writestr(zipfile.ZipInfo(name), array, rng.choice((0, 8)))
    return out.getvalue()


def zip_fields(content: bytes, rng: Random) -> bytes:
    """A field of the directory of a zip archive: flags, method, checksum, a size, an offset."""
    signature, offsets = rng.choice(
        (
            (b"PK\x01\x02", ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (42, 4))),
            (b"PK\x03\x04", ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))),
            (b"PK\x05\x06", ((8, 2), (10, 2), (12, 4), (16, 4), (20, 2))),
        )
    )
    starts = [i for i in range(len(content)) if content.startswith(signature, i)]
    if not starts:
        return content
    offset, size = rng.choice(offsets)
    at = rng.choice(starts) + offset
    number = rng.choice((1, 8, 9, 12, 14, 99, *NUMBERS)) % 2 ** (8 * size)
    return content[:at] + number.to_bytes(size, "little") + content[at + size :]


def png_chunk(content: bytes, rng: Random) -> bytes:
    """Another width, height or mode of a PNG picture, with a checksum that fits."""
    if content[12:16] != b"IHDR" or len(content) < 33:
        return content
    head = bytearray(content[16:29])
    if rng.random() < 0.7:
        at = rng.choice((0, 4))
        head[at : at + 4] = (rng.choice((*NUMBERS, 20_000, 100_000)) % 2**32).to_bytes(4, "big")
    else:
        head[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    checksum = zlib.crc32(b"IHDR" + head).to_bytes(4, "big")
    return content[:16] + bytes(head) + checksum + content[33:]
