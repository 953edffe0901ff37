"""Data files that were forged: bombs, lies and programs. One named error each; little memory; nothing run."""

import gzip
import os
import pickle
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import nn_any as nn
from nn_any.datasets import load_table
from nn_any.datasets.idx import parse_idx
from nn_any.datasets.mnist import read_mnist_npz, read_mnist_pickle
from nn_any.datasets.reading import read_bytes

MEBIBYTE = 2**20


def refused(call, path, message, most=None):
    """The one error that `call` ends with, and the memory that it takes on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(nn.DataFileError, match=message) as caught:
            call(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError | nn.NnAnyError)
    size = path.stat().st_size
    assert peak < (most or 10 * size + 64 * MEBIBYTE), f"{peak:,} bytes for a file of {size:,}"


@pytest.mark.slow
def test_a_gzip_bomb_stops_early(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 2**28) + bytes(2**28)))
    assert path.stat().st_size < 300_000
    refused(read_bytes, path, "expected at most .* bytes when decompressed, got more; .* gunzip", 40 * MEBIBYTE)


def test_a_gzip_bomb_in_members(tmp_path):
    path = tmp_path / "some.gz"
    path.write_bytes(gzip.compress(bytes(2**20)) * 200)
    refused(read_bytes, path, "expected at most .* bytes when decompressed, got more")


def test_what_compresses_well_and_is_honest(tmp_path):
    """Images that are mostly background, 40 times smaller when compressed, and anything below a mebibyte."""
    images = np.zeros((2000, 784), dtype=np.uint8)
    images[:, ::40] = np.random.default_rng(0).integers(0, 256, images[:, ::40].shape)
    for array in (images, np.zeros((1000, 784), dtype=np.uint8)):
        content = struct.pack(">BBBBII", 0, 0, 8, 2, *array.shape) + array.tobytes()
        path = tmp_path / "images.gz"
        path.write_bytes(gzip.compress(content))
        np.testing.assert_array_equal(parse_idx(read_bytes(path), "images"), array)
        np.savez_compressed(tmp_path / "data.npz", x=array, y=np.arange(len(array)) % 2)
        assert len(load_table(tmp_path / "data.npz", device="numpy")[0]) == len(array) * 8 // 10


@pytest.mark.parametrize("axes", [0, 9, 70, 255])
def test_idx_of_too_many_axes(axes):
    content = struct.pack(f">BBBB{axes}I", 0, 0, 8, axes, *[1] * axes) + b"x"
    with pytest.raises(nn.DataFileError, match=f"name: expected an IDX header of 1 to 8 axes, got {axes} axes"):
        parse_idx(content, "name")


def test_idx_of_nothing():
    with pytest.raises(
        nn.DataFileError, match=r"expected at least one example and one pixel, got shape \(0, 4294967295"
    ):
        parse_idx(struct.pack(">BBBBII", 0, 0, 8, 2, 0, 2**32 - 1), "name")


def npy(descr, shape, data=b"", fortran=False, version=1):
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode("latin1")
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


GOOD = npy("'|u1'", "(4, 2)", bytes(range(8)))
LABELS = npy("'<i8'", "(4,)", np.array([0, 1, 0, 1]).tobytes())


def archive(path, method=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in ({"x": GOOD, "y": LABELS} | members).items():
            file.writestr(f"{name}.npy", content)


def test_our_npz_reader_agrees_with_numpys(tmp_path):
    path = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    for array in (
        rng.normal(size=(5, 3)),
        np.asfortranarray(rng.normal(size=(5, 3))).astype(">f4"),
        rng.integers(0, 9, (5, 2, 2), dtype=np.uint16),
        rng.integers(0, 2, (5, 3)) > 0,
        rng.normal(size=(5, 3)).astype("f2"),
    ):
        for save in (np.savez, np.savez_compressed):
            save(path, x=array, y=np.array(["ä", "b", "ccc", "d", "e"]))
            x, y = nn.datasets.npz.read_npz(path, ("x", "y"))
            with np.load(path) as theirs:
                np.testing.assert_array_equal(x, theirs["x"])
                np.testing.assert_array_equal(y, theirs["y"])
                assert x.dtype == theirs["x"].dtype


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "data.npz"
    bomb = npy("'|u1'", "(268435456, 1)") + bytes(2**28)
    archive(path, zipfile.ZIP_DEFLATED, x=bomb)
    assert path.stat().st_size < 300_000
    refused(load_table, path, "expected at most .* bytes when decompressed, got more; .*np.savez", 2 * MEBIBYTE)


def test_a_table_of_contents_of_a_million_entries(tmp_path):
    path = tmp_path / "data.npz"
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    directory = entry * 200_000
    path.write_bytes(directory + b"PK\x05\x06" + bytes(4) + struct.pack("<HHIIH", 65535, 65535, len(directory), 0, 0))
    refused(load_table, path, "a part of it claims to be of 9,", 3 * MEBIBYTE)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (npy("'|u1'", "(1000000000000, 2)", b"ab"), "an array of 2000000000000 bytes in a part that has 2"),
        (npy("'|u1'", "(4294967296, 4294967296)", b"ab"), "bytes in a part that has 2"),
        (npy("'|u1'", "(-4, -2)", bytes(8)), "an array whose shape makes no sense"),
        (npy("'|u1'", f"({'1,' * 40})", b"a"), "an array whose shape makes no sense"),
        (npy("'|O'", "(4, 2)", bytes(64)), "an array of dtype object; convert it to booleans"),
        (npy("'<c8'", "(4, 2)", bytes(64)), "an array of dtype complex64"),
        (npy("'<M8[s]'", "(4, 2)", bytes(64)), "an array of dtype datetime64"),
        (npy("'<f16'", "(4, 2)", bytes(128)), "an array of dtype"),
        (npy("[('a', '<f8')]", "(4, 2)", bytes(64)), "an array of dtype"),
        (npy("('<f4', (99999999,))", "(4, 2)", bytes(64)), "descr|dtype"),
        (npy("'<U0'", "(4, 2)"), "an array of dtype"),
        (npy("'<f4'", "(4, 2)", bytes(31)), "an array of 32 bytes in a part that has 31"),
        (npy("__import__('os').system('touch hacked')", "(4, 2)", bytes(64)), "malformed|parse"),
        (npy("'|u1'", "(" * 300), "parse|EOF|memory|parentheses"),
        (npy("'|u1'" + " " * 12_000, "(4, 2)", bytes(8)), "header|large|safe"),
        (npy("'|u1'", "(4, 2)", bytes(8), version=9), r"an array of version \(9, 0\)"),
        (b"", "EOF|magic"),
        (b"\x93NUMPY", "EOF|magic|version"),
    ],
    ids=range(18),
)
def test_arrays_that_lie(tmp_path, x, message):
    path = tmp_path / "data.npz"
    archive(path, x=x)
    refused(load_table, path, f"expected an npz file of plain arrays, got another .*({message})", 2 * MEBIBYTE)
    assert not os.path.exists("hacked")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x": npy("'|u1'", "()", b"a")}, r"x: expected \(n, features\) or more axes, got shape \(\)"),
        ({"y": npy("'|u1'", "()", b"a")}, r"y: expected labels \(n,\)"),
        ({"x": npy("'|u1'", "(4, 0)")}, "x: expected at least one example and one feature"),
        ({"x": npy("'<f4'", "(4, 1)", np.array([1, np.nan, 2, 3], "f4").tobytes())}, "got nan at row 1, column 0"),
        ({"x": npy("'<U1'", "(4, 1)", b"a\0\0\0" * 4)}, "x: expected real numbers, got text"),
        ({"y": npy("'<U1'", "(4,)", b"\xff" * 16)}, "text that is not Unicode"),
        ({"y": npy("'<U1'", "(4,)", b"\0\xd8\0\0" * 4)}, "text that is not Unicode"),
        ({"y": npy("'|S1'", "(4,)", b"\xff" * 4)}, "expected classes as text in UTF-8"),
        ({"y": npy("'<f4'", "(4,)", np.array([1, np.inf, 2, 3], "f4").tobytes())}, "y: .*got inf at row 1"),
        ({"y": npy("'|u1'", "(3,)", b"abc")}, "x and y: expected one entry an example in each, got 4 and 3"),
        ({"y": npy("'|b1'", "(4,)", b"\x02\x07\xff\x01")}, "expected two classes or more, got True for all"),
    ],
    ids=range(11),
)
def test_arrays_that_are_whole_and_make_no_data(tmp_path, members, message):
    path = tmp_path / "data.npz"
    archive(path, **members)
    refused(load_table, path, message, 2 * MEBIBYTE)


def test_archives_that_no_numpy_wrote(tmp_path):
    path = tmp_path / "data.npz"
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        archive(path, method)
        refused(load_table, path, "x.npy is compressed in another way than NumPy does")
    for whole in (True, False):
        archive(path)
        content = path.read_bytes()
        path.write_bytes(content.replace(bytes(range(8)), bytes(range(1, 9))) if whole else content[:-30])
        refused(load_table, path, "Bad CRC-32|not a zip file")
    np.savez(path, x_train=np.zeros((3, 2)), y_train=[0, 1, 0], x_test=np.zeros((3, 2)), y_test=[0, 1, 0])
    refused(read_mnist_npz, path, "expected six training images or more")


def test_training_data_too_few_to_validate_with(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=np.zeros((1, 2)), y_train=[1], x_test=np.zeros((3, 2)), y_test=[0, 1, 0])
    refused(load_table, path, "x_train: expected at least 2 examples")
    np.savez(path, x_train=np.eye(4), y_train=[0, 1, 0, 1], x_test=np.eye(4), y_test=[0, 1, 0, 1])
    assert [len(part) for part in load_table(path, device="numpy")] == [3, 1, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1," * 3_000_000 + "0\n", "a line of more than 4,194,304 characters"),
        ("1,0\n" + '"a\n",' * 900_000 + "0\n", "a line of more than 4,194,304 characters"),
        ('1,"2,0\n' + 70_000 * "1,2,0\n", "field larger than field limit"),
        (
            "1,2,0\n" * 10 + "1," + "9" * 100_000 + ",0\n",
            "line 11, column 2: expected a finite float32 number",
        ),
        ("".join(f"1,class {i}\n" for i in range(9_000)), r"more than 4,500 different ones in 9,000 lines; put the"),
        ("1,a\n2," + "b" * 100_000 + "\n", "expected at least 3 examples"),
        ("1,2,0\n1,2\0,1\n", "expected text in UTF-8, got UTF-16 or no text at all"),
        ("1,\n2,\n", "line 1, column 2: expected the class, got ''"),
        ('1,"a\n', "line 1: expected comma-separated values: unexpected end of data; close each quote"),
    ],
    ids=range(9),
)
def test_csv_out_of_bounds(tmp_path, text, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    refused(load_table, path, message)


def test_a_long_class_name_does_not_cost_its_length_in_every_line(tmp_path):
    """NumPy's text arrays are as wide as their longest entry: 100 kB × 20,000 lines would be 8 GB."""
    path = tmp_path / "data.csv"
    path.write_text(f"1,{'x' * 100_000}\n" + "2,a\n3,b\n" * 10_000)
    tracemalloc.start()
    try:
        training, *_ = load_table(path, device="numpy")
        assert tracemalloc.get_traced_memory()[1] < 10 * path.stat().st_size + 8 * MEBIBYTE
    finally:
        tracemalloc.stop()
    assert (training.classes, training.class_names[:2]) == (3, ("a", "b"))


def test_memory_of_an_honest_csv_file(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\n".join(",".join(map(str, range(10, 60))) + f",{i % 3}" for i in range(5_000)))
    tracemalloc.start()
    try:
        assert len(load_table(path, device="numpy")[0]) == 4_000
        assert tracemalloc.get_traced_memory()[1] < 10 * path.stat().st_size
    finally:
        tracemalloc.stop()


RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'touch hacked'\ntR.", "expected arrays and nothing else, got os.system; nothing was run"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "got builtins.eval; nothing was run"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", "got os.system; nothing was run"),
        (RECONSTRUCT + b"(J\xff\xff\xff\x7ftS'b'\ntR.", "expected an array that is filled afterwards"),
        (b"cnumpy\nndarray\n((J\xff\xff\xff\x7ftR.", "damaged pickle|expected"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "a damaged pickle"),
        (b"c_codecs\nencode\n(S'abc'\nS'zlib_codec'\ntR.", "expected bytes written as latin1"),
        (b"cnumpy\ndtype\n(S'O8'\nK\x00K\x01tR.", "expected arrays of numbers, got dtype 'O8'"),
        (b"cnumpy\ndtype\n(S'V99999999'\nK\x00K\x01tR.", "expected arrays of numbers, got dtype 'V99999999'"),
        (b"]r\xff\xff\xff\x7f.", "expected a place in the memo, got one far outside"),
        (b"]p999999999\n.", "expected a place in the memo, got one far outside"),
        (b"\x96\xff\xff\xff\xff\xff\x00\x00\x00abc.", "bytearray8"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "bytes8"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f].", "damaged pickle|frame"),
        (b"]" * 1_000_000 + b".", "expected at most 2000 operations"),
        (b"\x8f" * 100 + b".", "got EMPTY_SET; nothing was run"),
        (b"}." + b"x", "got EMPTY_DICT; nothing was run"),
        (b"(" * 1_500 + b"t" * 1_500 + b".", "expected"),
        (b"K\x01" + b"\x85" * 1_900 + b".", "expected"),
        (b"]\x94" + b"h\x00a" * 600 + b".", "expected"),
        (b"I" + b"9" * 5_000 + b"\n.", "integer string|expected"),
        (b"V\\ud800\n.", "expected"),
        (b"Pabc\n.", "got PERSID; nothing was run"),
        (b"", "exhausted"),
        (b".", "stack underflow"),
    ],
    ids=range(25),
)
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_are_programs(tmp_path, monkeypatch, content, message, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(content) if zipped else content)
    refused(read_mnist_pickle, path, f"expected a pickle of three pairs of arrays, got another .*({message})")
    assert not (tmp_path / "hacked").exists()


def test_a_pickle_that_makes_the_same_bytes_again_and_again(tmp_path):
    path = tmp_path / "mnist.pkl.gz"
    text = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00"
    path.write_bytes(text + b"c_codecs\nencode\nq\x01" + b"h\x01(h\x00S'latin1'\ntR0" * 200 + b".")
    refused(read_mnist_pickle, path, "expected each array once, got the same bytes again and again")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8"])
def test_our_pickle_reader_agrees_with_pythons(tmp_path, protocol, dtype):
    rng = np.random.default_rng(0)
    parts = tuple((rng.random((n, 4)).astype(dtype), rng.integers(0, 10, n)) for n in (9, 5, 6))
    parts = (parts[0], parts[1], (np.asfortranarray(parts[2][0]), parts[2][1]))
    path = tmp_path / "mnist.pkl"
    path.write_bytes(pickle.dumps(parts, protocol=protocol))
    for (x, y), (wanted_x, wanted_y) in zip(read_mnist_pickle(path), parts, strict=True):
        np.testing.assert_array_equal(x, wanted_x)
        np.testing.assert_array_equal(y, wanted_y)
        assert x.dtype == wanted_x.dtype


def test_arrays_of_the_wrong_kind_in_a_pickle(tmp_path):
    path = tmp_path / "mnist.pkl"
    x, y = np.zeros((6, 4), dtype="f4"), np.zeros(6, dtype=int)
    for parts, message in (
        (((x, y), (x, y)), "expected three pairs of arrays, got tuple"),
        (((x, y), (x, y), (x, y[:5])), "expected pairs of images"),
        (((x, y), (x, y), (x[:0], y[:0])), "expected pairs of images"),
        (((x, y), (x, y), x), "expected pairs of images"),
        (x, "expected three pairs of arrays, got ndarray"),
    ):
        path.write_bytes(pickle.dumps(parts))
        refused(read_mnist_pickle, path, message)
    path.write_bytes(pickle.dumps(((x, y), (x, y), (x + np.nan, y))))
    refused(lambda path: nn.datasets.load_mnist(path), path, "x: expected finite numbers, got nan at row 0, column 0")


def test_only_what_is_needed_is_read_of_a_pipe(tmp_path):
    """A pipe that nobody writes to would be waited for for ever."""
    if os.name != "posix":
        pytest.skip("named pipes are POSIX's")
    for name in ("data.npz", "data.csv", "mnist.pkl.gz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(FileNotFoundError, match=re.escape(name) if name != "mnist.pkl.gz" else "mnist"):
            (nn.datasets.load_mnist if name == "mnist.pkl.gz" else load_table)(tmp_path / name)
