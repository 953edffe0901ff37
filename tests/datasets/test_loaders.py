"""The readers: digits, MNIST in all its forms, and files of one's own."""

import gzip
import hashlib
import os
import pickle
import struct

import numpy as np
import pytest

import nn_any as nn
from nn_any.datasets import load_table, mnist
from nn_any.datasets.idx import parse_idx

RNG = np.random.default_rng(0)
NAMES = list(mnist.SHA256)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, n=60, n_test=20, size=4, compress=False, rename=lambda name: name):
    """Four small files in MNIST's format; returns their arrays."""
    arrays = [
        RNG.integers(0, 256, (n, size, size), dtype=np.uint8),
        RNG.integers(0, 10, n, dtype=np.uint8),
        RNG.integers(0, 256, (n_test, size, size), dtype=np.uint8),
        RNG.integers(0, 10, n_test, dtype=np.uint8),
    ]
    for name, array in zip(NAMES, arrays, strict=True):
        content = idx(array)
        path = folder / (rename(name) + (".gz" if compress else ""))
        path.write_bytes(gzip.compress(content) if compress else content)
    return arrays


def test_digits(backend):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    parts = nn.datasets.load_digits(backend.device)
    assert [len(part) for part in parts] == [1437, 180, 180]
    seen = np.concatenate([nn.to_numpy(part.x) for part in parts])
    assert sorted(map(bytes, seen)) == sorted(map(bytes, images.astype("uint8")))
    for part in parts:
        assert part.device == backend.device
        assert (part.classes, part.scale, part.input_shape) == (10, 16, (64,))
        share = np.bincount(nn.to_numpy(part.y)) / len(part)
        np.testing.assert_allclose(share, np.bincount(labels) / 1797, atol=0.006)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rename", [lambda name: name, lambda name: name.replace("-idx", ".idx")], ids=["dash", "dot"])
def test_mnist_from_a_folder(tmp_path, monkeypatch, compress, rename):
    x, y, test_x, test_y = write_idx(tmp_path, compress=compress, rename=rename)
    for folder in (tmp_path, str(tmp_path)):
        training, validation, test = nn.datasets.load_mnist(folder, device="numpy", verify=False)
        assert [len(part) for part in (training, validation, test)] == [50, 10, 20]
        np.testing.assert_array_equal(training.x, x[:50].reshape(50, 16))
        np.testing.assert_array_equal(validation.x, x[50:].reshape(10, 16))
        np.testing.assert_array_equal(test.x, test_x.reshape(20, 16))
        np.testing.assert_array_equal(np.concatenate([training.y, validation.y, test.y]), np.concatenate([y, test_y]))
        assert training.x.dtype == np.uint8
        assert (training.scale, training.classes) == (255, 10)
    monkeypatch.setenv("NN_ANY_DATA", str(tmp_path))
    assert len(nn.datasets.load_mnist(device="numpy", verify=False)[0]) == 50


def test_mnist_content_is_verified(tmp_path, monkeypatch):
    write_idx(tmp_path)
    with pytest.raises(ValueError, match=r"expected the original MNIST file, whose SHA-256 is ba891046.*verify=False"):
        nn.datasets.load_mnist(tmp_path, device="numpy")
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(mnist, "SHA256", digests)
    assert len(nn.datasets.load_mnist(tmp_path, device="numpy")[0]) == 50


def test_mnist_that_is_not_in_the_folder(tmp_path, monkeypatch):
    write_idx(tmp_path)
    (tmp_path / NAMES[2]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"folder: expected the files train-images-idx3-ubyte.*leave it out to download"
    ):
        nn.datasets.load_mnist(tmp_path)
    monkeypatch.setenv("NN_ANY_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="NN_ANY_DATA: expected the files"):
        nn.datasets.load_mnist()


def test_no_network_names_the_addresses_the_cache_and_the_way_out(tmp_path, monkeypatch):
    import pooch

    def offline(url, **arguments):
        raise OSError("no route to host")

    monkeypatch.delenv("NN_ANY_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", offline)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    with pytest.raises(ConnectionError) as caught:
        nn.datasets.load_mnist()
    for part in (
        *mnist.MIRRORS,
        str(tmp_path / "nn_any" / "mnist"),
        "load_mnist(folder)",
        "NN_ANY_DATA",
        "no route to host",
    ):
        assert part in str(caught.value)


def test_download_tries_the_next_mirror_and_verifies(tmp_path, monkeypatch):
    import pooch

    files = tmp_path / "files"
    files.mkdir()
    write_idx(files, compress=True)
    digests = {name: hashlib.sha256(gzip.decompress((files / f"{name}.gz").read_bytes())).hexdigest() for name in NAMES}
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        path.mkdir(parents=True, exist_ok=True)
        content = (files / fname).read_bytes() if url.startswith(mnist.MIRRORS[1]) else gzip.compress(b"forged")
        (path / fname).write_bytes(content)
        return str(path / fname)

    monkeypatch.delenv("NN_ANY_DATA", raising=False)
    monkeypatch.setattr(mnist, "SHA256", digests)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert len(nn.datasets.load_mnist(device="numpy")[0]) == 50
    assert len(asked) == 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "expected an IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "expected an IDX header of 1 to 8 axes, got 3 axes"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", "expected 5 bytes of data for shape"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02abc", "expected 2 bytes of data"),
        (b"\x00\x00\x08\x02\xff\xff\xff\xff\xff\xff\xff\xffabc", r"expected \d+ bytes of data for shape"),
        (b"PK\x03\x04 a zip file", "expected an IDX file"),
    ],
)
def test_damaged_idx(content, message):
    with pytest.raises(ValueError, match=f"some file: {message}"):
        parse_idx(content, "some file")


def test_damaged_gzip(tmp_path):
    write_idx(tmp_path, compress=True)
    path = tmp_path / f"{NAMES[0]}.gz"
    for damaged in (path.read_bytes()[:-20], path.read_bytes()[:40] + b"\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected a whole gzip file, got a damaged one"):
            nn.datasets.load_mnist(tmp_path, verify=False)


def book_parts():
    return tuple((RNG.random((n, 16), dtype=np.float32), RNG.integers(0, 10, n)) for n in (50, 10, 20))


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_the_books_pickle(tmp_path, protocol):
    parts = book_parts()
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(parts, protocol=protocol)))
    for chosen in (path, tmp_path):
        loaded = nn.datasets.load_mnist(chosen, device="numpy")
        for data, (x, y) in zip(loaded, parts, strict=True):
            np.testing.assert_array_equal(data.x, x)
            np.testing.assert_array_equal(data.y, y)


def test_a_pickle_as_python_2_wrote_it(tmp_path):
    """NumPy's old module names and text for bytes, as in the file of the book."""
    written = pickle.dumps(book_parts(), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in written
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(written))
    assert len(nn.datasets.load_mnist(tmp_path, device="numpy")[0]) == 50


class Malicious:
    def __repr__(self):
        return "Malicious()"

    def __reduce__(self):
        return os.mkdir, ("hacked",)


@pytest.mark.parametrize("what", [Malicious(), (Malicious(), 1, 2), {"a": 1}, (1, 2, 3), [np.zeros(3)] * 3], ids=str)
def test_a_pickle_of_anything_else_runs_nothing(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(what)))
    with pytest.raises(ValueError, match=r"mnist.pkl.gz: expected"):
        nn.datasets.load_mnist(tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_a_pickle_of_object_arrays_is_refused(tmp_path):
    x = np.array([[Malicious()]], dtype=object)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(((x, x), (x, x), (x, x)))))
    with pytest.raises(ValueError, match="expected arrays of numbers, got dtype .O8"):
        nn.datasets.load_mnist(tmp_path)


def test_keras_npz(tmp_path):
    x, test_x = RNG.integers(0, 256, (60, 4, 4), dtype=np.uint8), RNG.integers(0, 256, (20, 4, 4), dtype=np.uint8)
    y, test_y = np.arange(60, dtype=np.uint8) % 10, np.arange(20, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=test_x, y_test=test_y)
    training, validation, test = nn.datasets.load_mnist(tmp_path, device="numpy")
    assert [len(part) for part in (training, validation, test)] == [50, 10, 20]
    np.testing.assert_array_equal(training.x, x[:50].reshape(50, 16))
    np.savez(tmp_path / "mnist.npz", x_train=x)
    with pytest.raises(ValueError, match="expected arrays x_train, y_train, x_test and y_test"):
        nn.datasets.load_mnist(tmp_path)


@pytest.mark.skipif(not os.environ.get("NN_ANY_DATA"), reason="NN_ANY_DATA names no folder with the real MNIST")
def test_the_real_mnist():
    training, validation, test = nn.datasets.load_mnist(device="numpy")
    assert [len(part) for part in (training, validation, test)] == [50_000, 10_000, 10_000]
    assert training.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_npz_of_ones_own(tmp_path):
    path = tmp_path / "mine.npz"
    images = RNG.integers(0, 256, (50, 3, 3), dtype=np.uint8)
    np.savez(path, x=images, y=np.arange(50) % 5)
    training, validation, test = load_table(path, device="numpy")
    assert [len(part) for part in (training, validation, test)] == [40, 5, 5]
    assert (training.scale, training.classes) == (255, 5)
    np.savez(path, x_train=images, y_train=np.arange(50)[:, None] % 5, x_test=images, y_test=np.arange(50)[:, None] % 5)
    parts = load_table(path, device="numpy")
    assert [len(part) for part in parts] == [42, 8, 50]
    assert parts[0].has_labels
    np.savez(path, a=images)
    with pytest.raises(ValueError, match="expected arrays x and y, or x_train, y_train, x_test and y_test, got a"):
        load_table(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="expected an npz file of plain arrays"):
        load_table(path)
    np.savez(path, x=np.array([object()]), y=images)
    with pytest.raises(ValueError, match="expected an npz file of plain arrays"):
        load_table(path)


def test_csv_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [f"{i}.5,{-i},{'ab'[i % 2]}" for i in range(20)]
    path.write_text("\n".join(["height,width,kind", *rows]) + "\n")
    parts = load_table(path, device="numpy")
    assert [len(part) for part in parts] == [16, 2, 2]
    rebuilt = {tuple(x): y for part in parts for x, y in zip(part.x.tolist(), part.y.tolist(), strict=True)}
    assert rebuilt == {(i + 0.5, -float(i)): i % 2 for i in range(20)}
    path.write_text("\n".join(f"{i},{i % 3}" for i in range(30)))
    assert load_table(path, device="numpy")[0].classes == 3
    path.write_text("\n".join(f"{i},{i / 7}" for i in range(30)))
    assert load_table(path, device="numpy")[0].classes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected lines of numbers parted by commas, .*got 0 column\(s\)"),
        ("a,b\n", "expected lines of numbers .*got names alone"),
        ("1\n2\n", r"expected lines of numbers .*got 1 column\(s\)"),
        ("1 2 0\n3 4 1\n", r"expected lines of numbers .*got 1 column\(s\)"),
        ("1,2,0\n1,x,0\n", "line 2, column 2: expected a number such as 1.5, got 'x'"),
        ("1,2;3,4;0\n5,6;7,8;1\n", "line 1, column 1: expected a number such as 1.5, got '1,2'"),
        ("1,2,0\n1,0\n", "line 2: expected 3 columns, got 2"),
        ("1,2,0\n1,2,1\n", "expected at least 3 examples"),
        ("5.1,3.5,0,\n4.9,3.0,1,\n", "line 1, column 4: expected the class, got ''; .* end no line with a delimiter"),
        ("a,b,kind,\n5.1,3.5,0,\n", "line 2, column 4: expected the class, got ''"),
        ("1,2,0\n1,2,1\n1,2,\n", "line 3, column 3: expected the class, got ''"),
        ("1,2,0\n1,2,NA\n1,2,1\n", "line 2, column 3: expected the class, got 'NA'"),
        ("1,2,0\n1,2,nan\n1,2,1\n", "line 2, column 3: expected the class, got 'nan'"),
        ("1,2,a\n1,,b\n1,2,a\n", "line 2, column 2: expected a number, got ''; fill the gap, or leave such lines out"),
        ("1,2,0\n\n1,NaN,1\n", "line 3, column 2: expected a number, got 'NaN'"),
        ("NA,NA,0\n1,2,1\n2,3,0\n", "line 1, column 1: expected a number, got 'NA'"),
        ("NA,NA,a\n1,2,b\n2,3,a\n", "line 1, column 1: expected a number, got 'NA'"),
        ("1,1e39,0\n1,2,1\n1,2,0\n", "line 1, column 2: expected a finite float32 number, got '1e39'"),
        ("1,2,0\n1,2,1\n1,2,inf\n", "line 3, column 3: expected a finite float32 number, got 'inf'"),
        ("1,2,0\n1,2,0\n1,2,0\n", "expected two classes or more, got 0 for all examples"),
        ("1,2,a\n1,2,a\n1,2,a\n", "expected two classes or more, got a for all examples"),
        ('1,"2,0\n' + 70_000 * "1,2,0\n", "line .*: expected comma-separated values: field larger than field limit"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_table(path, device="numpy")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["mine.csv", "MINE.CSV"])
def test_csv_as_spreadsheets_write_it(tmp_path, delimiter, encoding, name):
    rows = ["Länge,Breite,Art", *(f"{i}.5,{-i},{'äb'[i % 2]}" for i in range(20))]
    (tmp_path / name).write_bytes("\r\n".join(rows).replace(",", delimiter).encode(encoding))
    training, *_ = load_table(tmp_path / name, device="numpy")
    assert (training.input_shape, training.classes, training.class_names) == ((2,), 2, ("b", "ä"))


@pytest.mark.parametrize(
    ("encoding", "found"), [("latin-1", "another encoding, such as Latin-1"), ("utf-16", "UTF-16 or no text at all")]
)
def test_csv_in_other_encodings(tmp_path, encoding, found):
    path = tmp_path / "mine.csv"
    path.write_bytes("1.5,ä\n2.5,b\n3.5,ä\n".encode(encoding))
    with pytest.raises(ValueError, match=f"mine.csv: expected text in UTF-8, got {found}.*; save it as CSV in UTF-8"):
        load_table(path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 2], None),
        ([False, True], None),
        ([1, 2, 3], (1, 2, 3)),
        ([-1, 1], (-1, 1)),
        ([0, 1_000_000], (0, 1_000_000)),
        (["oak", "ash"], ("ash", "oak")),
        ([b"oak", b"ash"], ("ash", "oak")),
    ],
    ids=str,
)
def test_labels_are_numbered_in_sorted_order(tmp_path, labels, names):
    y = np.array(labels * 20)
    x = np.arange(len(y), dtype=float)[:, None]
    known = list(names or range(len(labels)))
    answers = {
        float(i): known.index(label.decode() if isinstance(label, bytes) else label) for i, label in enumerate(y)
    }
    files = {"whole.npz": {"x": x, "y": y}, "column.npz": {"x": x, "y": y[:, None]}}
    files["parts.npz"] = {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}
    for name, arrays in files.items():
        np.savez(tmp_path / name, **arrays)
    if not isinstance(labels[0], bytes | bool):
        rows = [f"{a[0]},{b}" for a, b in zip(x, y, strict=True)]
        (tmp_path / "whole.csv").write_text("\n".join(rows))
    for path in tmp_path.iterdir():
        parts = load_table(path, device="numpy")
        for part in parts:
            assert (part.classes, part.class_names) == (len(labels), names)
        found = {x: y for part in parts for x, y in zip(part.x[:, 0].tolist(), part.y.tolist(), strict=True)}
        assert found == answers


def test_whole_numbers_with_decimals_are_to_be_predicted(tmp_path):
    x, y = np.arange(30.0)[:, None], np.arange(30) % 3
    (tmp_path / "mine.csv").write_text("\n".join(f"{a[0]},{b}.0" for a, b in zip(x, y, strict=True)))
    np.savez(tmp_path / "mine.npz", x=x, y=y.astype(float))
    for path in tmp_path.iterdir():
        assert load_table(path, device="numpy")[0].classes is None
        assert load_table(path, device="numpy", task="classification")[0].classes == 3


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(30, dtype=int), "mine.NPZ: expected two classes or more, got 0 for all examples"),
        (np.array(["a", "nan", "b"] * 10), "mine.NPZ: expected a class for each example, got 'nan'"),
    ],
    ids=["one class", "missing"],
)
def test_bad_labels_in_npz(tmp_path, y, message):
    with open(tmp_path / "mine.NPZ", "wb") as file:
        np.savez(file, x=np.zeros((30, 2)), y=y)
    with pytest.raises(ValueError, match=message):
        load_table(tmp_path / "mine.NPZ")


def test_an_npy_file_in_an_npz_files_clothes(tmp_path):
    with open(tmp_path / "mine.npz", "wb") as file:
        np.save(file, np.zeros((30, 2)))
    with pytest.raises(ValueError, match=r"mine.npz: expected an npz .* a single array, .*np.savez\(path, x=x, y=y\)"):
        load_table(tmp_path / "mine.npz")


def test_files_that_are_not_there_or_of_no_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match="data: expected a file, found none at"):
        load_table(tmp_path / "none.npz")
    (tmp_path / "data.txt").touch()
    with pytest.raises(ValueError, match="data: expected a file ending in .npz or .csv, got data.txt"):
        load_table(tmp_path / "data.txt")
