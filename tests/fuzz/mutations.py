"""Files that are nearly right: bytes, parts of a format and values of a structure, changed as hypothesis says."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
import zlib

from hypothesis import strategies as st

LARGE = 2**16
EDGES = (0, 1, 2, 3, 4, 7, 8, 9, 16, 64, 127, 128, 255, 256, 4096, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31)
EDGES += (2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
ODD = (None, True, -1, 0, 2**31, 2**70, 1.5, 1e308, float("nan"), float("inf"), "", "x" * 5000, "..", "/etc/passwd")
ODD += ("a\0b", "\ud800", "é夜", [], [[]], {}, {"a": {}}, [1, 2, 3], ["rgb"], [0, 255], "{split}", "*", "1e5", -(2**63))
TOKENS = ("..", "/", "\\", "\0", "\ufeff", "\t", "\n", "\r", "\n\n", " ", "é", "夜", "C:", "{", "}", "[", "]", '"', "'")
TOKENS += ("=", "#", ",", "1e999", "nan", "-1", "9" * 30, "9" * 5000, "x" * 5000, "[" * 300, "{split}", "*", "\u2028")
TOKENS += ("0x", "{}", "[[", "'''", "true", "None", "(", ")", ".", ":", "-", "_", "\x1b", "\x7f", "\x0b", "1979-01-01")


def _edits(data):
    """What to do (0..15), where, how much or which (below LARGE), and bytes, of 10 bytes each."""
    parts = [data[start : start + 10] for start in range(0, len(data), 10)]
    return [(part[0] % 16, *struct.unpack("<HH", part[1:5].ljust(4, b"\0")), part[5:]) for part in parts]


changes = st.binary(min_size=10, max_size=40).map(_edits)


def place(at, size):
    """A position below size (at least 1); the beginnings, where headers are, are met more often."""
    return min(int(size * (at / LARGE) ** (1 + at % 3)), size - 1)


def changed_bytes(data, done):
    """Bytes with fields set, cut, doubled and moved."""
    data = bytearray(data or b"\0")
    for what, at, amount, payload in done:
        start = place(at, len(data))
        length = 1 + amount % 32
        if what < 3:
            data[start] ^= 1 << amount % 8
        elif what < 5:
            data[start : start + len(payload)] = payload
        elif what < 10:  # a number, of a width and an order
            width = "BHIQ"[amount % 4]
            value = EDGES[amount // 8 % len(EDGES)] % 256 ** struct.calcsize(width)
            field = struct.pack(("<", ">")[amount // 4 % 2] + width, value)
            data[start : start + len(field)] = field
        elif what == 10:
            del data[start:]
        elif what == 11:
            del data[start : start + length]
        elif what == 12:
            data[start:start] = data[start : start + length] * (1 + amount % 5)
        elif what == 13:
            data[start:start] = payload
        elif what == 14:
            other = place(amount, len(data))
            data[start : start + length], data[other : other + length] = (
                data[other : other + length],
                data[start : start + length],
            )
        else:
            data[start : start + length] = bytes(len(data[start : start + length]))
        data = data or bytearray(b"\0")
    return bytes(data)


def png_parts(data):
    parts, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        parts.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return parts


def png_of(parts):
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def zip_parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name.encode(), archive.read(name)) for name in archive.namelist()]


def zip_of(parts, packing=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, body in parts:
            archive.writestr(zipfile.ZipInfo(name.decode("utf-8", "replace") or "x"), body, packing)
    return file.getvalue()


FORMS = {b"\x89PNG": (png_parts, png_of), b"PK\x03\x04": (zip_parts, zip_of)}


def changed_file(data, done, parted):
    """A file changed in its bytes, or, where `parted` and the format has parts, in them, with right checksums."""
    split, join = FORMS.get(data[:4], (None, None)) if parted else (None, None)
    if split is None:
        return changed_bytes(data, done)
    parts = split(data)
    for what, at, amount, payload in done:
        index = amount % len(parts)
        name, body = parts[index]
        if what < 11:
            parts[index] = name, changed_bytes(body, [(what, at, amount // len(parts), payload)])
        elif what == 11 and len(parts) > 1:
            del parts[index]
        elif what == 12:
            parts.insert(place(at, len(parts)), parts[index])
        elif what == 13:
            other = place(at, len(parts))
            parts[index], parts[other] = parts[other], parts[index]
        elif what == 14:
            parts[index] = changed_bytes(name, [(1, at, amount, payload)])[: len(name)], body
        else:
            deep = zlib.compress(bytes(amount * 64)) if name == b"IDAT" else bytes(amount)
            parts[index] = name, deep
    return join(parts)


def changed_text(text, done):
    """Lines and characters of a text changed, then its bytes; one in four is written in another encoding."""
    for what, at, amount, payload in done:
        lines = text.split("\n")
        line, start = place(amount, len(lines)), place(at, len(text) + 1)
        if what < 6:
            text = text[:start] + TOKENS[amount % len(TOKENS)] + text[start:]
        elif what < 8:
            text = text[:start] + text[start + 1 + amount % 12 :]
        elif what == 8:
            text = "\n".join([*lines[:line], *lines[line + 1 :]])
        elif what == 9:
            text = "\n".join([*lines[: line + 1], lines[line] * (1 + amount % 3), *lines[line + 1 :]])
        elif what == 10:
            text = "\n".join([*lines[line:], *lines[:line]])
        elif what == 11:
            text = text[:start] + payload.decode("latin-1") + text[start:]
        elif what == 12:
            text = text[:start] + text[start : start + 20].swapcase() + text[start + 20 :]
        else:
            coded = [("utf-16", "utf-8-sig", "cp1252", "utf-32", "utf-16-le", "utf-7")[amount % 6], "replace"]
            return changed_bytes(text.encode(*coded), [(what - 13, at, amount, payload)] if amount % 2 else [])
    return text.encode("utf-8", "surrogatepass")


def places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def found(value, at):
    for key in at:
        value = value[key]
    return value


def changed_value(value, done, odd=ODD):
    """Nested dicts and lists in which values are replaced, moved, removed, doubled or renamed."""
    value = copy.deepcopy(value)
    for what, at, amount, _ in done:
        known = list(places(value))
        where = known[at % len(known)]
        if not where:
            continue
        holder, key = found(value, where[:-1]), where[-1]
        other = found(value, known[amount % len(known)])
        if isinstance(holder, tuple):
            continue
        if what < 8:
            holder[key] = copy.copy(odd[amount % len(odd)])
        elif what < 10:
            holder[key] = copy.deepcopy(other)
        elif what < 12:
            del holder[key]
        elif what == 12 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif what == 13:
            holder[key] = [holder[key]]
        elif what == 14:
            holder[key] = {"a": holder[key]}
        elif isinstance(holder, dict):
            holder[TOKENS[amount % len(TOKENS)] if amount % 2 else f"{key}s"] = holder.pop(key)
    return value


def json_of(value):
    return json.dumps(value, default=str).encode()


def toml_of(tables):
    """A TOML file of tables of inline values; what TOML lacks, such as null, is written as it is."""
    if not isinstance(tables, dict):
        return _toml(tables).encode("utf-8", "replace")
    lines = [f"{_key(name)} = {_toml(item)}" for name, item in tables.items()]
    return "\n".join(lines).encode("utf-8", "replace")


def _key(name):
    return json.dumps(str(name), ensure_ascii=False)


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, float) else json.dumps(value, default=str, ensure_ascii=False)
