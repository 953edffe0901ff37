"""Honest files of each format, from which the dishonest ones are made; the same every time."""

import gzip
import io
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import nn_any as nn


def models():
    """Model files: plain, of float64, with convolutions, normalisation and the rest."""
    conv = [(8, 8, 1), nn.RandomAffine(rotation=5), nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(2)]
    made = [
        nn.Network([4, 5, 3], device="numpy", seed=1),
        nn.Network([4, nn.Dense(6, activation="tanh"), nn.Dropout(0.5), 2], device="numpy", dtype="float64", seed=2),
        nn.Network([*conv, nn.Flatten(), nn.LayerNorm(), nn.Dense(2)], device="numpy", seed=3),
        nn.Network([3, nn.Dense(1, activation="linear")], loss="huber", device="numpy", seed=4),
    ]
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for net in made:
            net.save(Path(folder, "model"))
            files.append(Path(folder, "model").read_bytes())
    return files


def idx_array(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx():
    rng = np.random.default_rng(1)
    plain = [
        idx_array(rng.integers(0, 256, (12, 5, 5), dtype=np.uint8)),
        idx_array(rng.integers(0, 10, 12, dtype=np.uint8)),
    ]
    return plain + [gzip.compress(content, mtime=0) for content in plain]


def npz():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    images = rng.integers(0, 256, (30, 3, 3), dtype=np.uint8)
    keras = {"x_train": images, "y_train": y.astype("uint8"), "x_test": images[:9], "y_test": y[:9].astype("uint8")}
    files = []
    for save, arrays in (
        (np.savez, {"x": x, "y": y}),
        (np.savez_compressed, {"x": images, "y": np.array(["ash", "oak", "elm"])[y]}),
        (np.savez, {"x": x.astype("f4"), "y": x[:, 0]}),
        (np.savez, {"x": np.asfortranarray(x), "y": y.astype(bool)}),
        (np.savez_compressed, keras),
    ):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        files.append(_without_times(buffer))
    return files


def _without_times(archive):
    """The same archive, whenever it was made: NumPy writes the time into each entry."""
    fresh = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(fresh, "w") as new:
        for entry in old.infolist():
            timeless = zipfile.ZipInfo(entry.filename)
            timeless.compress_type = entry.compress_type
            new.writestr(timeless, old.read(entry))
    return fresh.getvalue()


def csv():
    rows = [f"{i}.5,{-i},{i * i}e-3" for i in range(20)]
    texts = [
        "\n".join(["height,width,depth,kind", *(f"{row},{'ab'[i % 2]}" for i, row in enumerate(rows))]) + "\n",
        "\r\n".join(f"{row},{i % 3}".replace(",", ";") for i, row in enumerate(rows)),
        "\n".join(f"{row},{i / 7}".replace(",", "\t") for i, row in enumerate(rows)),
        "\n".join(f'"{i}",{i % 4},"a ""quoted"" {"äöü"[i % 3]}"' for i in range(20)),
    ]
    return [
        text.encode(encoding) for text, encoding in zip(texts, ("utf-8", "utf-8-sig", "utf-8", "utf-8"), strict=True)
    ]


def pickles():
    rng = np.random.default_rng(3)
    parts = tuple((rng.random((n, 4), dtype=np.float32), rng.integers(0, 10, n)) for n in (9, 6, 6))
    files = [pickle.dumps(parts, protocol=protocol) for protocol in (0, 1, 2, 4, 5)]
    files.append(files[2].replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return [*files, gzip.compress(files[2], mtime=0)]
