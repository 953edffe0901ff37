"""Data sets, and the files that they come from."""

import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest

import nn_any as nn
from nn_any.datasets import mnist
from nn_any.datasets.augmentation import expand_by_shifts
from nn_any.datasets.idx import parse_idx
from nn_any.datasets.mnist import read_mnist_npz, read_mnist_pickle
from nn_any.datasets.reading import read_bytes

from . import place, places

SQUARES = nn.Dataset(np.arange(8).reshape(2, 4), [0, 1], device="numpy")


@place(
    "datasets/augmentation.py expand_by_shifts: dataset: expected a Dataset, got {}; make one with",
    "dataset",
    "make one with nn_any.Dataset(x, y)",
)
def test_arrays_to_shift(refused):
    x, y = np.arange(8).reshape(2, 4), [0, 1]
    with refused:
        expand_by_shifts((x, y))
    assert len(expand_by_shifts(nn.Dataset(x, y))) == 10


@place(
    "datasets/augmentation.py _image_size: dataset: expected images, (n, height, width[,",
    "dataset",
    "pass image_shape=(height, width)",
)
def test_flat_images_that_are_not_square(refused):
    data = nn.Dataset(np.arange(12).reshape(2, 6), [0, 1])
    with refused:
        expand_by_shifts(data)
    assert len(expand_by_shifts(data, image_shape=(2, 3))) == 10


@place(
    "datasets/augmentation.py _image_size: image_shape: expected (height, width) or (height,",
    "image_shape",
    "(height, width) or (height, width, channels)",
)
def test_a_shape_that_is_none(refused):
    with refused:
        expand_by_shifts(SQUARES, image_shape=4)
    for shape in ((2, 2), (2, 2, 1)):
        expand_by_shifts(SQUARES, image_shape=shape)


@place(
    "datasets/augmentation.py _image_size: image_shape: expected the shape of the examples,",
    "image_shape",
    "the shape of the examples, (2, 2)",
)
def test_another_shape_than_that_of_the_images(refused):
    data = nn.Dataset(np.arange(8).reshape(2, 2, 2), [0, 1])
    with refused:
        expand_by_shifts(data, image_shape=(4, 1))
    expand_by_shifts(data, image_shape=(2, 2))


@place(
    "datasets/augmentation.py _shift: shifts: expected pairs (down, right) of integers,",
    "shifts",
    "pairs (down, right) of integers",
)
def test_shifts_that_are_no_pairs(refused):
    for shift in (1, (1, 0, 0), (0.5, 0), (True, 0)):
        with refused:
            expand_by_shifts(SQUARES, [shift])
    once = expand_by_shifts(SQUARES, [(1, 0)])
    for shifts in (np.array([[1, 0]]), [(np.int64(1), 0)]):
        np.testing.assert_array_equal(expand_by_shifts(SQUARES, shifts, image_shape=np.array([2, 2])).x, once.x)


@place(
    "datasets/augmentation.py expand_by_shifts: shifts: expected a list of pairs (down, right),",
    "shifts",
    "put it in brackets",
)
def test_shifts_that_are_no_list(refused):
    with refused:
        expand_by_shifts(SQUARES, 1)
    expand_by_shifts(SQUARES, [(1, 0)])


@place(
    "datasets/augmentation.py _shift: shifts: expected less than the images' {} × {}", "shifts", "less than the images'"
)
def test_shifts_out_of_the_image(refused):
    with refused:
        expand_by_shifts(SQUARES, [(2, 0)])
    expand_by_shifts(SQUARES, [(1, 0)])


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = idx(np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
LABELS = idx(np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8))


@places(
    {
        "datasets/idx.py parse_idx: {}: expected an IDX file of unsigned bytes, got": b"\0\0\x0d\1" + IMAGES[4:],
        "datasets/idx.py parse_idx: {}: expected an IDX header of 1 to {} axes, got {}": IMAGES[:7],
        "datasets/idx.py parse_idx: {}: expected {} bytes of data for shape {}, got": IMAGES[:-1],
        "datasets/idx.py parse_idx: {}: expected at least one example and one pixel,": idx(np.zeros((0, 2, 2))),
    },
    "images: expected",
    "fetch it again",
)
def test_a_damaged_idx_file(refused, value):
    with refused:
        parse_idx(value, "images")
    assert parse_idx(IMAGES, "images").shape == (6, 2, 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with small files in place of MNIST's, which pass for the originals."""
    digests = {}
    for name in mnist.SHA256:
        content = IMAGES if "images" in name else LABELS
        (tmp_path / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(mnist, "SHA256", digests)
    return tmp_path


@place(
    "datasets/mnist.py mnist_arrays: {}: expected the files {} (plain or .gz),",
    "folder",
    "(plain or .gz), mnist.pkl.gz or mnist.npz in",
)
def test_a_folder_without_mnist(refused, folder):
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.unlink()
    with refused:
        nn.datasets.load_mnist(folder)
    labels.with_name(labels.name + ".gz").write_bytes(gzip.compress(LABELS))
    assert [len(part) for part in nn.datasets.load_mnist(folder)] == [5, 1, 6]


@place("datasets/mnist.py _split: {}: expected the original MNIST file, whose", "t10k-labels", "verify=False")
def test_other_data_in_the_format_of_mnist(refused, folder):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1, 0, 1, 0, 1, 0], dtype=np.uint8)))
    with refused:
        nn.datasets.load_mnist(folder)
    assert len(nn.datasets.load_mnist(folder, verify=False)[2]) == 6


@place("datasets/mnist.py _download: MNIST could not be downloaded ({}). Get {} from", "MNIST", "load_mnist(folder)")
def test_mnist_without_a_network(refused, folder, tmp_path, monkeypatch):
    import pooch

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("NN_ANY_DATA", raising=False)
    with refused:
        nn.datasets.load_mnist()
    nn.datasets.load_mnist(folder)
    monkeypatch.setenv("NN_ANY_DATA", str(folder))
    nn.datasets.load_mnist()


X, LABEL = np.arange(24, dtype="float32").reshape(6, 4) / 24, np.array([0, 1, 0, 1, 0, 1])
PAIR = (X, LABEL)
DTYPE = b"cnumpy\ndtype\n(S'f4'\ntR"
RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
EMPTY = RECONSTRUCT + b"(K\x00tS'b'\ntR"
SYSTEM = b"cos\nsystem\n."
KILOBYTE = b"X" + struct.pack("<I", 2**10) + b"a" * 2**10 + b"q\x00"


@places(
    {
        "datasets/pickled.py _Dtype.__init__: expected arrays of numbers, got dtype {}": b"cnumpy\ndtype\n(S'O8'\ntR.",
        "datasets/pickled.py _Dtype.__setstate__: expected the byte order of a dtype, got something": DTYPE
        + b"(K\x03S'x'\ntb.",
        "datasets/pickled.py _Array.__setstate__: expected the state of an array, got something else": EMPTY
        + b"(K\x01tb.",
        "datasets/pickled.py _array: expected the dtype, the order and the bytes of an": EMPTY
        + b"(K\x01(K\x01tK\x03K\x00S'abcd'\ntb.",
        "datasets/pickled.py _array: expected the shape of an array, got something else": EMPTY
        + b"(K\x01K\x01"
        + DTYPE
        + b"K\x00S'abcd'\ntb.",
        "datasets/pickled.py _array: expected {} bytes for shape {}, got {}": EMPTY
        + b"(K\x01(K\x02t"
        + DTYPE
        + b"K\x00S'abcd'\ntb.",
        "datasets/pickled.py _Unpickler.find_class: expected arrays and nothing else, got {}; nothing": SYSTEM,
        "datasets/pickled.py _Unpickler._encode: expected bytes written as latin1, got something": b"c_codecs\nencode\n"
        b"(S'abc'\nS'zlib_codec'\ntR.",
        "datasets/pickled.py _Unpickler._encode: expected each array once, got the same bytes again": KILOBYTE
        + b"c_codecs\nencode\nq\x01"
        + b"h\x01(h\x00S'latin1'\ntR0" * 100
        + b".",
        "datasets/pickled.py _Unpickler._reconstruct: expected an array that is filled afterwards, got": RECONSTRUCT
        + b"(K\x05tS'b'\ntR.",
        "datasets/pickled.py parse_pickle: expected at most {} operations, got more": b"]" * 3000 + b".",
        "datasets/pickled.py parse_pickle: expected arrays, and tuples or lists of them, got": b"}.",
        "datasets/pickled.py parse_pickle: expected a place in the memo, got one far outside": b"]p999999999\n.",
        "datasets/pickled.py parse_pickle: a damaged pickle ({}: {})": b".",
        "datasets/pickled.py _arrays: expected arrays, or tuples of them, got {}": b"K\x01.",
        "datasets/mnist.py read_mnist_pickle: {}: expected a pickle of three pairs of arrays,": b"",
        "datasets/mnist.py read_mnist_pickle: {}: expected three pairs of arrays, got {}; fetch": pickle.dumps(
            (PAIR, PAIR)
        ),
        "datasets/mnist.py _pair: {}: expected pairs of images (n, 784) and labels": pickle.dumps((PAIR, PAIR, X)),
    },
    "mnist.pkl: expected",
    "fetch it again",
)
def test_a_damaged_pickle(refused, value, tmp_path):
    path = tmp_path / "mnist.pkl"
    path.write_bytes(value)
    with refused:
        read_mnist_pickle(path)
    path.write_bytes(pickle.dumps((PAIR, PAIR, PAIR)))
    assert len(read_mnist_pickle(path)) == 3


@places(
    {
        "datasets/mnist.py _arranged: {}: expected as many labels as images, got {} and": (
            "use files that belong together",
            (LABEL[:5], X),
        ),
        "datasets/mnist.py _arranged: {}: expected six training images or more, and test": (
            "six training images or more, and test images of their size",
            (LABEL, X[:, :3]),
        ),
    },
    "mnist.npz: expected",
)
def test_images_that_do_not_belong_together(refused, value, tmp_path):
    path, (y, test_x) = tmp_path / "mnist.npz", value
    np.savez(path, x_train=X, y_train=y, x_test=test_x, y_test=LABEL)
    with refused:
        read_mnist_npz(path)
    np.savez(path, x_train=X, y_train=LABEL, x_test=X, y_test=LABEL)
    read_mnist_npz(path)


@place(
    "datasets/reading.py read_bytes: {}, if you trust it, decompress it with gunzip", "zeros.gz", "with gunzip first"
)
def test_a_file_that_expands_beyond_measure(refused, tmp_path):
    content = bytes(2**22)
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(content))
    with refused:
        read_bytes(tmp_path / "zeros.gz")
    (tmp_path / "zeros").write_bytes(gzip.decompress((tmp_path / "zeros.gz").read_bytes()))
    assert read_bytes(tmp_path / "zeros") == content


@place("datasets/reading.py read_bytes: {}: expected a whole gzip file, got a damaged one", "some.gz", "fetch it again")
def test_half_a_gzip_file(refused, tmp_path):
    path, whole = tmp_path / "some.gz", gzip.compress(b"some text " * 100)
    path.write_bytes(whole[:-10])
    with refused:
        read_bytes(path)
    path.write_bytes(whole)
    assert read_bytes(path) == b"some text " * 100


@place("datasets/reading.py prefix_path: {}: {}", "mnist.pkl: x: ", "drop")
def test_numbers_in_a_file_that_are_not_finite(refused, tmp_path):
    path = tmp_path / "mnist.pkl"
    path.write_bytes(pickle.dumps((PAIR, PAIR, (np.full_like(X, np.nan), LABEL))))
    with refused:
        nn.datasets.load_mnist(path)
    path.write_bytes(pickle.dumps((PAIR, PAIR, PAIR)))
    nn.datasets.load_mnist(path)
