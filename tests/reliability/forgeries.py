"""Files that were forged by someone who knows the format: checksums fit, and sizes lie."""

import gzip
import hashlib
import io
import json
import pickletools
import struct
import zipfile

import numpy as np

from .mutations import SIZES, blindly, distort

_BOMB = 2**22


def _pack(header, text, body):
    header = {"__metadata__": {"nn_any": text}, **header}
    encoded = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + body


def _fitting_digest(about, header, body):
    """The digest that the forged description and tensors should have."""
    kinds = {"F32": "<f4", "F64": "<f8"}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(header):
        entry = header[name]
        try:
            shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
            digest.update(f"\n{name} {kinds.get(entry['dtype'], '<f4')} {shape}\n".encode("utf-8", "replace"))
            digest.update(body[start:stop])
        except (TypeError, ValueError, KeyError):
            continue
    return digest.hexdigest()


def model(rng, content, others):
    """The description or the header changed, and the SHA-256 made to fit."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    about = json.loads(header.pop("__metadata__")["nn_any"])
    about.pop("sha256")
    kind = rng.integers(6)
    if kind < 3:
        for _ in range(rng.integers(1, 4)):
            about = distort(rng, about)
            if not isinstance(about, dict):
                break
    elif kind == 3:
        header = distort(rng, header)
    elif kind == 4:  # sizes that fit each other, and not the tensors
        big = int(rng.choice((10**3, 10**6, 10**9, 10**12)))
        about["input_shape"] = [big]
        about["layers"] = [{**layer, "units": big} for layer in about["layers"] if layer["type"] == "Dense"]
    else:
        about["layers"] = [about["layers"][i] for i in rng.integers(0, len(about["layers"]), rng.integers(0, 40))]
    if isinstance(about, dict) and isinstance(header, dict):
        about = {**about, "sha256": _fitting_digest(about, header, body)}
    text = json.dumps(about, sort_keys=True)
    if rng.random() < 0.05:
        text = "[" * int(rng.choice((100, 5_000, 100_000))) + text
    return _pack(header if isinstance(header, dict) else {"x": header}, text, body)


def idx(rng, content, others):
    """Another shape in the header; perhaps a bomb, perhaps compressed again."""
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    axes = int(rng.choice((0, 1, 2, 3, 8, 9, 70, 255)))
    sizes = [int(SIZES[rng.integers(len(SIZES))]) % 2**32 for _ in range(axes)]
    if rng.random() < 0.3:
        plain = struct.pack(f">BBBB{axes}I", 0, 0, 8, axes, *sizes) + plain[16:]
    elif rng.random() < 0.1:
        plain = struct.pack(">BBBBI", 0, 0, 8, 1, _BOMB) + bytes(_BOMB)
    else:
        plain = blindly(rng, plain, others)
    if rng.random() < 0.5:
        return plain
    packed = gzip.compress(plain, mtime=0)
    return packed + packed if rng.random() < 0.1 else packed


def npz(rng, content, others):
    """Archives that are whole, of arrays whose headers lie."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = list(members)[rng.integers(len(members))]
    kind = rng.integers(6)
    if kind == 0:
        members[name] = blindly(rng, members[name], list(members.values()))
    elif kind == 1:
        members[name] = _npy_header(rng) + members[name][128:]
    elif kind == 2:
        members[name] = _npy("|u1", (_BOMB, 1)) + bytes(_BOMB)
    elif kind == 3:
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}, print], dtype=object), allow_pickle=True)
        members[name] = buffer.getvalue()
    elif kind == 4:
        dtypes = ("<f4", ">f8", "<c8", "|S3", "<U2", "|b1", "<i8", "<M8[s]", "<f2", "<u8", "|V4")
        shape = tuple(rng.choice((0, 1, 2, 30), rng.integers(0, 4)))
        array = np.frombuffer(rng.bytes(int(np.prod(shape)) * 8), np.uint8)
        dtype = np.dtype(dtypes[rng.integers(len(dtypes))])
        count = int(np.prod(shape))
        members[name] = _npy(dtype.str, tuple(map(int, shape))) + array.tobytes()[: count * dtype.itemsize].ljust(
            count * dtype.itemsize, b"\0"
        )
    else:
        members.pop(name)
        members[f"m{rng.integers(9)}"] = b""
    buffer = io.BytesIO()
    method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(buffer, "w", int(rng.choice(method, p=(0.4, 0.5, 0.05, 0.05)))) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def _npy(descr, shape):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")


def _npy_header(rng):
    descrs = (
        "'|O'",
        "'<f8'",
        "'<U1000000000'",
        "'V0'",
        "[('a', '<f8', (10**9,))]",
        "('<f4', (99999999,))",
        "1",
        "'('*9",
    )
    shapes = ("(10**12,)", "(-1, 4)", "(4294967296, 4294967296)", "(1,)*99", "()", "(30, 4)", "(30L, 4L)", "(" * 500)
    text = f"{{'descr': {rng.choice(descrs)}, 'fortran_order': {rng.choice(['True', 'False', '2'])}, "
    text += f"'shape': {rng.choice(shapes)}, }}\n"
    version = int(rng.choice((1, 1, 1, 2, 3, 9)))
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text.encode()


_FIELDS = (
    "",
    "nan",
    "inf",
    "1e999",
    "-0",
    "NA",
    '"',
    '""',
    '"a',
    "x" * 300,
    "1" * 400,
    "ä",
    "\0",
    "\r",
    ";",
    "1_0",
    "٣",
)


def csv(rng, content, others):
    """Fields, lines and delimiters out of place."""
    text = content.decode("utf-8-sig")
    for _ in range(rng.integers(1, 5)):
        lines = text.split("\n")
        place, field = int(rng.integers(len(lines))), _FIELDS[rng.integers(len(_FIELDS))]
        cells = lines[place].replace(";", ",").replace("\t", ",").split(",")
        kind = rng.integers(7)
        if kind < 3:
            cells[rng.integers(len(cells))] = field
        elif kind == 3:
            cells.insert(int(rng.integers(len(cells) + 1)), field)
        elif kind == 4:
            cells = cells * int(rng.choice((2, 2000)))
        elif kind == 5:
            lines = lines[:place] + lines[place:] * int(rng.choice((2, 30)))
        else:
            cells = [field * int(rng.choice((1, 2000)))]
        lines[place] = ",".join(cells)
        text = "\n".join(lines)[: 2**17]
    return text.encode(
        ("utf-8", "utf-8-sig", "utf-16", "latin-1")[rng.choice(4, p=(0.85, 0.05, 0.05, 0.05))], "replace"
    )


_OPCODES = {opcode.name: opcode for opcode in pickletools.opcodes}
_ARGUMENTS = {
    "uint1": lambda rng: rng.bytes(1),
    "uint2": lambda rng: rng.bytes(2),
    "int4": lambda rng: struct.pack("<i", int(rng.choice((0, 1, -1, 2**31 - 1)))),
    "uint4": lambda rng: struct.pack("<I", int(rng.choice((0, 1, 2**20, 2**32 - 1)))),
    "uint8": lambda rng: struct.pack("<Q", int(SIZES[rng.integers(len(SIZES))])),
    "float8": lambda rng: rng.bytes(8),
}
_CALLS = (
    b"cos\nsystem\n(S'touch hacked'\ntR",
    b"cbuiltins\neval\n(S'1'\ntR",
    b"cnumpy\nndarray\n((J\xff\xff\xff\x7ftR",
    b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftS'b'\ntR",
    b"c_codecs\nencode\n(S'abc'\nS'zlib_codec'\ntR",
    b"cnumpy\ndtype\n(S'O8'\nK\x00K\x01tR",
    b"cnumpy\ndtype\n(S'V99999999'\nK\x00K\x01tR(K\x03S'<'\nNNNJ\xff\xff\xff\x7fK\x00K\x00tb",
    b"r\xff\xff\xff\x7f",
    b"\x96\xff\xff\xff\xff\xff\x00\x00\x00",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"]" * 5_000,
    b"(" * 5_000,
    b"}\x8f" * 3_000,
    b"2" * 500,
    b"\x85" * 4_000,
    b"Vx\np1\n" + b"g1\n" * 3_000,
)


def pickles(rng, content, others):
    """Operations out of place, and calls that an honest pickle does not make."""
    zipped = content[:2] == b"\x1f\x8b"
    plain = gzip.decompress(content) if zipped else content
    places = [place for _, _, place in pickletools.genops(plain)]
    parts = [plain[a:b] for a, b in zip(places, [*places[1:], len(plain)], strict=True)]
    for _ in range(rng.integers(1, 5)):
        place, kind = int(rng.integers(len(parts) + 1)), rng.integers(5)
        if kind == 0:
            parts.insert(place, _CALLS[rng.integers(len(_CALLS))])
        elif kind == 1:
            opcode = list(_OPCODES.values())[rng.integers(len(_OPCODES))]
            make = _ARGUMENTS.get(opcode.arg.name, lambda rng: rng.bytes(9)) if opcode.arg else lambda rng: b""
            parts.insert(place, opcode.code.encode("latin1") + make(rng))
        elif kind == 2 and place < len(parts):
            del parts[place]
        elif kind == 3 and place < len(parts):
            parts.insert(place, parts[rng.integers(len(parts))])
        elif place < len(parts):
            parts[place] = blindly(rng, parts[place], parts)
    plain = b"".join(parts)
    if rng.random() < 0.05:
        plain = plain[:-1] + b"0" + b"U\x01a0" * 700 + b"."
    return gzip.compress(plain, mtime=0) if zipped or rng.random() < 0.1 else plain
