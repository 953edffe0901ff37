"""What files of one's own are taken for: names or examples, classes or numbers, and which column is the target."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
from sklearn import datasets

import nn_any as nn
from nn_any.datasets import load_table
from nn_any.datasets.new_examples import read_inputs
from nn_any.datasets.tables import read_table

LETTERS = "abc"


@pytest.fixture
def read(tmp_path):
    """The reader of a text; gives the inputs and targets of all examples, and what the text was taken for."""

    def run(text, device="numpy", **options):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        parts, reading = read_table(path, device=device, **options)
        x, y = (np.concatenate([nn.to_numpy(getattr(part, name)) for part in parts]) for name in ("x", "y"))
        names = parts[0].class_names
        return x, [names[label] for label in y] if names else y, reading

    return run


def lines(first, row, n=60):
    return "\n".join([*([first] if first else []), *(row(i) for i in range(n))])


def decimals(i, columns=3):
    return ",".join(f"{(i * (k + 2) % 61) / 7:.2f}" for k in range(columns))


@pytest.mark.parametrize(
    ("first", "row", "features", "target"),
    [
        ("0,1,2,price", lambda i: f"{decimals(i)},{i / 3:.3f}", 3, 'column "price"'),
        ("0,1,2,price", lambda i: f"{decimals(i)},{i * 50}", 3, 'column "price"'),
        ("0,1,2,target", lambda i: f"{decimals(i)},{LETTERS[i % 3]}", 3, 'column "target"'),
        ("0,1,2,3", lambda i: f"{decimals(i)},{i % 3}", 3, 'column "3"'),
        ("0,1", lambda i: f"{decimals(i, 1)},{i % 3}", 1, 'column "1"'),
        ("0,1", lambda i: f"{i},{i / 7:.2f}", 1, 'column "1"'),
        ("RI,Na,Mg,Type", lambda i: f"{decimals(i)},{i % 3}", 3, 'column "Type"'),
        ("RI,Na,Mg,Type", lambda i: f"{decimals(i)},{LETTERS[i % 3]}", 3, 'column "Type"'),
        ("Na,NA,Type", lambda i: f"{decimals(i, 2)},{LETTERS[i % 3]}", 2, 'column "Type"'),
        ("150,2,setosa,versicolor,virginica", lambda i: f"{decimals(i, 4)},{i % 3}", 4, 'column "virginica"'),
        ("1990,1991,country", lambda i: f"{decimals(i, 2)},{LETTERS[i % 3]}", 2, 'column "country"'),
        ("# a,b,c", lambda i: f"{decimals(i, 2)},{i % 3}", 2, 'column "c"'),
        ('"a","b, c","d"', lambda i: f"{decimals(i, 2)},{i % 3}", 2, 'column "d"'),
        ("a,a,a", lambda i: f"{decimals(i, 2)},{i % 3}", 2, 'column "a"'),
        (",0,1,2", lambda i: f"{i},{decimals(i, 2)},{i % 3}", 2, 'column "2"'),
        (",a,b,kind", lambda i: f"{i},{decimals(i, 2)},{LETTERS[i % 3]}", 2, 'column "kind"'),
        ("Unnamed: 0,a,kind", lambda i: f"{i * 7 % 60},{decimals(i, 1)},{LETTERS[i % 3]}", 1, 'column "kind"'),
        (",a,kind", lambda i: f"{i % 5},{decimals(i, 1)},{LETTERS[i % 3]}", 2, 'column "kind"'),
    ],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
def test_a_first_line_of_names(read, first, row, features, target, bom):
    x, y, reading = read(bom + lines(first, row).encode())
    assert (x.shape, len(y), reading.target) == ((60, features), 60, target)
    told = any("first line taken for names" in note for note in reading.notes)
    assert told == any(field[:1].isdigit() or field == "Na" for field in first.split(","))
    assert any("column 1" in note for note in reading.notes) == (features < first.count(",") and '"' not in first)


@pytest.mark.parametrize(
    "text",
    [
        lines("0,1", lambda i: f"{i},{i % 2}", 59),
        lines("0,1,2,a", lambda i: f"{i},{i + 1},{i + 2},{LETTERS[i % 3]}", 59),
        lines("0,0,0", lambda i: f"{i},{i},{i % 2}", 59),
        lines("3,1,2", lambda i: f"{i},{i},{i % 4}", 59),
        "\n".join(f"{i},{LETTERS[i % 3]}" for i in range(60)),
    ],
)
def test_a_first_line_that_is_an_example(read, text):
    x, y, reading = read(text)
    assert (len(x), len(y), reading.notes) == (60, 60, ())


@pytest.mark.parametrize(
    ("first", "names", "target"),
    [
        ("a,b,kind", ("a", "b"), ("kind",)),
        ("# a , b,kind", ("a", "b"), ("kind",)),
        ("0,1,2", ("0", "1"), ("2",)),
        ("a,a,kind", None, ("kind",)),
        ("kind,b,kind", None, ("kind",)),
        ("a,,kind", None, ("kind",)),
        ("a,b,", ("a", "b"), None),
        (None, None, None),
    ],
)
def test_the_names_of_columns_are_kept(tmp_path, first, names, target):
    path = tmp_path / "table.csv"
    path.write_text(lines(first, lambda i: f"{decimals(i, 2)},{LETTERS[i % 3]}"))
    for part in load_table(path, device="numpy", header=first is not None):
        assert (part.feature_names, part.target_names) == (names, target)


def test_an_index_is_no_feature(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(lines(",a,b,kind", lambda i: f"{i},{decimals(i, 2)},{LETTERS[i % 3]}"))
    with pytest.raises(nn.DataFileError, match=r"line 1, column 1: .* if this line has names, pass header=True"):
        load_table(path, header=False)
    path.write_text(lines(",a,b,c", lambda i: f"{i},{decimals(i, 3)}"))
    training, *_ = load_table(path, device="numpy", target="a")
    assert (training.feature_names, training.target_names) == (("b", "c"), ("a",))


def test_a_first_column_that_counts_is_told(read):
    x, _, reading = read(lines(None, lambda i: f"{i},{decimals(i, 2)},{LETTERS[i % 3]}"))
    told = "column 1 counts the lines: if that is no property of the examples, write the file without it"
    assert (x.shape, reading.notes) == ((60, 3), (told,))
    assert read(lines(None, lambda i: f"{60 - i},{decimals(i, 2)},{LETTERS[i % 3]}"))[2].notes == ()
    assert read(lines("n,a,b,kind", lambda i: f"{i},{decimals(i, 2)},{LETTERS[i % 3]}"))[2].notes == ()


@pytest.mark.parametrize("first", ["0,1,2,3", "a,b,c,d", "1,2,3,1", "0.5,1.5,2.5,kind"])
def test_header_decides(read, first):
    x, _, reading = read(lines(first, lambda i: f"{decimals(i)},{i % 3}"), header=True)
    assert (len(x), reading.notes, reading.target) == (60, (), f'column "{first.split(",")[-1]}"')
    if first[0].isdigit() and first[-1].isdigit():
        assert len(read(lines(first, lambda i: f"{decimals(i)},{i % 3}"), header=False)[0]) == 61
    elif first[0] == "a":
        with pytest.raises(nn.DataFileError, match=r"line 1, column 1: .*'a'.*header=True \(--header yes\)"):
            read(lines(first, lambda i: f"{decimals(i)},{i % 3}"), header=False)


@pytest.mark.parametrize("end", [lambda i: f"{i / 9:.3f}", lambda i: LETTERS[i % 3]])
def test_names_with_decimals_want_a_word(read, end):
    text = lines("400.5,401.0,moisture", lambda i: f"{decimals(i, 2)},{end(i)}")
    with pytest.raises(nn.DataFileError, match="first line: expected names or an example, got 'moisture'"):
        read(text)
    assert len(read(text, header=True)[0]) == 60


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["1_0", "10"], ["1_0", "10"]),
        (["1", "01", "a"], ["1", "01", "a"]),
        (["01", "02", "10"], ["01", "02", "10"]),
        (["١", "1"], ["١", "1"]),
        (["9007199254740992", "9007199254740993"], ["9007199254740992", "9007199254740993"]),
        (["true", "false", "True"], ["true", "false", "True"]),
        (['"a b"', " a", "A"], ["a b", "a", "A"]),
        (['"1"', " 2", "3 "], [1, 2, 3]),
        (["-1", "+1"], [-1, 1]),
        (["2020-01-01", "2020-01-02"], ["2020-01-01", "2020-01-02"]),
    ],
)
def test_fields_that_look_alike_stay_apart(read, fields, expected):
    n = 12 * len(fields)
    _, y, reading = read(lines("", lambda i: f"{i},{fields[i % len(fields)]}", n))
    assert reading.task == "classification"
    assert Counter(y) == dict.fromkeys(expected, 12)


def test_text_classes_may_be_numbers_of_other_spellings(read):
    fields = ["1", "1.0", "01", "a"]
    _, y, _ = read(lines("", lambda i: f"{i},{fields[i % 4]}"), task="classification")
    assert Counter(y) == dict.fromkeys(fields, 15)


@pytest.mark.parametrize("field", ["1_000", "١", "\u00a01", "0x10", "1,5", "5%", "1 000", "2020-01-01", "True", "−1"])
def test_what_is_no_number(read, field):
    with pytest.raises(nn.DataFileError, match="line 9, column 2 \\(Mg\\): expected a number such as 1.5, got"):
        read(lines("RI,Mg,kind", lambda i: f'{i},"{field if i == 7 else i}",{i % 2}'))


@pytest.mark.parametrize(
    ("field", "target"), [("3,5", False), ("3,5", True), ("45%", True), ('"1,250"', True), ("$5", True)]
)
def test_numbers_as_spreadsheets_write_them_are_refused(read, field, target):
    text = lines("", lambda i: f"{i};{i};{field}" if target else f"{field};{i};{i % 2}")
    with pytest.raises(nn.DataFileError, match="write numbers with a decimal point, and without thousands"):
        read(text)
    mended = text.replace(field, field.replace(",", ".").strip('%"$'), 59)
    assert len(read(mended.replace(field, "7"), task="regression")[0]) == 60


def test_a_target_that_is_the_same_everywhere(read):
    with pytest.raises(nn.DataFileError, match='expected numbers that differ in column "b", got 1.5 for all examples'):
        read(lines("a,b", lambda i: f"{i},1.5"))


def test_white_space_around_fields(read):
    """Spaces and tabs around a field do not count, before quotes either; a no-break space is part of a name."""
    _, y, _ = read(lines("a,b", lambda i: f'{i}, "x, {i % 2}"'))
    assert Counter(y) == {"x, 0": 30, "x, 1": 30}
    _, y, _ = read(lines("a,b", lambda i: f"{i}," + ("x", "x ", "x\u00a0")[i % 3]))
    assert Counter(y) == {"x": 40, "x\u00a0": 20}


@pytest.mark.parametrize(
    ("arguments", "text", "remedy"),
    [
        ({"header": False}, lines("a,b", lambda i: f"{i},{i / 7}"), "pass header=True (--header yes)"),
        ({}, lines("", lambda i: f"{'xyz'[i % 3]},{i},{i / 7}"), "pass target=1 (--target 1)"),
    ],
)
def test_remedies_that_go_with_the_place(read, arguments, text, remedy):
    with pytest.raises(nn.DataFileError, match=re.escape(remedy)):
        read(text, **arguments)
    assert len(read(text, **({"header": True} if arguments else {"target": 1}))[0]) == 60


def test_commas_in_numbers_between_semicolons(read):
    with pytest.raises(nn.DataFileError, match="line 1, column 1: .* got '0,5'; write numbers with a decimal point"):
        read(lines("", lambda i: f"{i},5;{i},2;{i % 2}"))


@pytest.mark.parametrize("field", ["inf", "-Infinity", "1e39"])
def test_targets_that_are_not_finite(read, field):
    with pytest.raises(nn.DataFileError, match=r"line 9, column 2 \(b\): expected a finite float32 number"):
        read(lines("a,b", lambda i: f"{i},{field if i == 7 else i / 7}"))


@pytest.mark.parametrize(
    ("different", "n", "task"),
    [
        (2, 3, "classification"),
        (3, 6, "classification"),
        (4, 7, "regression"),
        (20, 40, "classification"),
        (21, 209, "regression"),
        (21, 210, "classification"),
        (150, 440, "regression"),
        (1000, 10_000, "classification"),
        (1001, 10_010, "regression"),
    ],
)
def test_how_many_whole_numbers_are_classes(read, tmp_path, different, n, task):
    y = np.arange(n) % different * 7
    _, _, reading = read(lines("a,b", lambda i: f"{i},{y[i]}", n))
    assert reading.task == task
    other = {"classification": "regression", "regression": "classification"}[task]
    assert f'"b" has {different:,} different whole numbers' in reading.lines()[0]
    assert f"--task {other} if they are" in reading.lines()[1]
    x = np.arange(n)[:, None]
    np.savez(tmp_path / "table.npz", x=x, y=y)
    assert read_table(tmp_path / "table.npz", device="numpy")[1].task == task
    for chosen in ("classification", "regression"):
        found = load_table(tmp_path / "table.csv", device="numpy", task=chosen)[0]
        assert (found.classes, found.y.dtype) == ((different, int) if chosen == "classification" else (None, "f4"))


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
@pytest.mark.parametrize("names", [False, True])
def test_scikit_learns_tables(read, tmp_path, name, names):
    data = getattr(datasets, f"load_{name}")()
    x, y, task = data.data, data.target, "regression" if name == "diabetes" else "classification"
    header = [*(each.replace(",", "") for each in data.feature_names), "target"]
    with (tmp_path / "writer.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [header] * names + [[*row, a] for row, a in zip(x.tolist(), y.tolist(), strict=True)]
        )
    for fmt in ("%.18e", "%.9g"):
        title = {"header": ",".join(header)} if names else {}
        np.savetxt(tmp_path / f"savetxt{fmt[2]}.csv", np.c_[x, y], fmt=fmt, delimiter=",", **title)
    for path in tmp_path.glob("*[rt19].csv"):
        written = "savetxt1" not in path.stem  # which writes classes with decimals
        found_x, found_y, reading = read(path.read_bytes(), task=None if written else task)
        assert reading.task == task
        known = sorted((*row, a) for row, a in zip(x.astype("f4").tolist(), y.tolist(), strict=True))
        found = sorted((*row, a) for row, a in zip(found_x.tolist(), np.ravel(found_y).tolist(), strict=True))
        np.testing.assert_allclose(found, known, rtol=1e-6)
    assert len(list(tmp_path.glob("*[rt19].csv"))) == 3


def test_classes_with_decimals_are_numbers_until_the_task_is_given(read):
    text = lines("a,b", lambda i: f"{i},{i % 3}.0")
    _, _, reading = read(text)
    assert reading.lines() == [
        'taken for regression: column "b" has whole numbers written with decimals, 3 different values',
        "--task classification if they are classes",
        "--target COLUMN predicts another column than the last",
    ]
    _, y, _ = read(text, task="classification")
    assert Counter(y.tolist()) == {0: 20, 1: 20, 2: 20}
    _, y, _ = read(lines("a,b", lambda i: f"{i},{i % 3 / 2}"), task="classification")
    assert Counter(y) == {0.0: 20, 0.5: 20, 1.0: 20}


@pytest.mark.parametrize("target", ["label", "1", 1, -5, "-5"])
def test_the_target_may_be_any_column(read, backend, target):
    text = lines("label,p0,p1,p2,p3", lambda i: f"{i % 10},{i},{i * 3 % 256},0,{i}")
    x, y, reading = read(text, target=target, device=backend.device)
    assert (reading.target, reading.task) == ('column "label"', "classification")
    assert sorted(zip(x[:, 0].tolist(), y.tolist(), strict=True)) == [(i, i % 10) for i in range(60)]
    assert x.shape == (60, 4)


def test_a_name_that_is_a_place_is_the_name(read):
    text = lines("0,1,2,3", lambda i: f"{decimals(i)},{i % 3}")
    assert read(text, target="1")[2].target == 'column "1"'
    assert read(text, target=1)[2].target == 'column "0"'
    for target, column in (("0", 0), ("1", 1), ("price", 2), ("3", 2)):
        text = lines("0,1,price", lambda i: f"{decimals(i)}")
        assert read(text, target=target)[2].target == f'column "{["0", "1", "price"][column]}"'
    text = lines("2,1,a", lambda i: f"{i % 2},{i % 5},{LETTERS[i % 3]}", 59)
    with pytest.raises(nn.DataFileError, match="line 1, column 3: expected a number"):
        read(text, target="1")
    assert read(text, target="3")[2].target == "column 3"


@pytest.mark.parametrize(
    ("target", "header", "message"),
    [
        ("kin", None, r"expected a name \(a, b, kind\) or a place from 1 to 3, or from -3 to -1 .* got 'kin'$"),
        ("kind", False, "expected a place from 1 to 3, .* got 'kind'; the first line has no names"),
        (0, None, "a place from 1 to 3, or from -3 to -1 counted from the end, .*, got 0$"),
        (4, None, "a place from 1 to 3, .* got 4$"),
        ("-4", None, "a place from 1 to 3, .* got '-4'$"),
        (True, None, "expected the name of a column, or its place, such as -1, got True"),
        ("9" * 5000, None, "a place from 1 to 3"),
    ],
)
def test_targets_that_are_not_there(read, target, header, message):
    with pytest.raises((ValueError, TypeError), match=f"^target: .*{message}"):
        read(lines("a,b,kind", lambda i: f"{i},{i},{i % 2}"), target=target, header=header)


X = np.arange(60.0)[:, None]


@pytest.mark.parametrize(
    ("y", "task", "classes", "names"),
    [
        (np.arange(60) % 3 + 1.0, "classification", 3, (1, 2, 3)),
        (np.arange(60)[:, None] % 3 * 1.0, "classification", 3, None),
        (np.arange(60) % 3, "regression", None, None),
        (np.arange(60) % 2 == 0, "regression", None, None),
        (np.arange(60) % 2 == 0, None, 2, None),
        (np.array(["b", "a"] * 30), "classification", 2, ("a", "b")),
        (np.eye(3)[np.arange(60) % 3], "classification", 3, None),
        (np.arange(120.0).reshape(60, 2), "regression", None, None),
    ],
    ids=range(8),
)
def test_the_task_decides_for_npz(tmp_path, backend, y, task, classes, names):
    np.savez(tmp_path / "table.npz", x=X, y=y)
    parts = load_table(tmp_path / "table.npz", device=backend.device, task=task)
    assert (parts[0].classes, parts[0].class_names) == (classes, names)
    if y.ndim == 1 and y.dtype.kind != "U":
        found = np.concatenate([np.ravel(nn.to_numpy(part.y)) for part in parts])
        order = np.argsort(np.concatenate([nn.to_numpy(part.x)[:, 0] for part in parts]))
        np.testing.assert_array_equal(found[order], y - (1 if names else 0) if y.dtype.kind != "b" else y * 1)


def test_labels_of_two_integer_dtypes_stay_labels(tmp_path):
    y = np.arange(60) % 3
    np.savez(tmp_path / "table.npz", x_train=X, y_train=y.astype("u8"), x_test=X, y_test=y)
    assert load_table(tmp_path / "table.npz", device="numpy")[0].classes == 3


def test_line_ends_may_be_mixed(read):
    x, y, _ = read("a,b,c\r\n1,2,x\r3,4,y\n\r\n5,6,x\r\n")
    assert sorted(zip(x.tolist(), y, strict=True)) == [([1, 2], "x"), ([3, 4], "y"), ([5, 6], "x")]


def test_class_names_that_mix_numbers_and_text_stay_as_they_are(read):
    _, y, _ = read(lines("", lambda i: f"{i},{['1', '2', 'other'][i % 3]}"))
    assert Counter(y) == {"1": 20, "2": 20, "other": 20}


def test_control_characters_in_names_do_not_reach_the_terminal(read):
    *_, reading = read(lines("\x1b[31mred,b", lambda i: f"{i},{i % 2}"), target=1)
    assert "\x1b" not in reading.lines()[0]


def test_a_quote_that_is_not_closed(read):
    text = lines("a,b,kind", lambda i: f"{i},{i},{chr(34) if i == 7 else ''}k{i % 2}")
    with pytest.raises(nn.DataFileError, match="line 9: .*; close each quote that is opened"):
        read(text)


def test_fields_parted_by_blanks(read):
    with pytest.raises(nn.DataFileError, match="its fields parted by commas, semicolons or tabs"):
        read(lines("", lambda i: f"{i} {i} {i % 2}"))


@pytest.mark.parametrize("spelled", [("False", "True"), ("FALSE", "TRUE"), ("false", "true")])
@pytest.mark.parametrize("first", ["town_Bonn,town_Ulm,kind", None])
@pytest.mark.parametrize("kinds", [("no", "yes"), ("0", "1"), ("False", "True")])
def test_true_and_false_are_1_and_0_where_inputs_stand(read, spelled, first, kinds):
    text = lines(first, lambda i: f"{spelled[i % 2]},{spelled[i // 2 % 2]},{kinds[i % 2]}")
    x, y, _ = read(text)
    assert Counter(map(tuple, x.tolist())) == Counter({(a, b): 15 for a in (0.0, 1.0) for b in (0.0, 1.0)})
    assert [int(row) for row in x[:, 0]] == [kinds.index(str(name)) for name in y]
    mixed = lines(first, lambda i: f"{spelled[i % 2]},{'maybe' if i == 7 else i},{kinds[i % 2]}")
    with pytest.raises(nn.DataFileError, match=r"column 2.*expected a number such as 1.5, got 'maybe'"):
        read(mixed)


def test_new_examples_may_say_true_and_false(tmp_path):
    net = nn.Network([2, 2], loss="log_likelihood", device="numpy", seed=0)
    named = net.specification.with_schema(nn.Schema(feature_names=("hot", "wet")))
    path = tmp_path / "new.csv"
    for text, specification in (
        ("wet,hot\nTrue,False\n1,true\n", named),
        ("hot,wet\nFalse,TRUE\nTrue,True\n", net.specification),
        ("False,True\nTrue,True\n", net.specification),
    ):
        path.write_text(text)
        np.testing.assert_array_equal(read_inputs(path, specification).x, [[0, 1], [1, 1]])
    path.write_text("hot,wet\n1.5,0\nTrue,1\n")
    with pytest.raises(nn.DataFileError, match=r"line 3, column 1 \(hot\): expected a number such as 1.5, got 'True'"):
        read_inputs(path, named)
    path.write_text("hot,wet\nTrue,perhaps\n")
    with pytest.raises(nn.DataFileError, match=r"column 2 \(wet\): expected a number such as 1.5, got 'perhaps'"):
        read_inputs(path, named)


@pytest.mark.parametrize(("largest", "told"), [(1, True), (16, True), (200, False)])
def test_bytes_that_are_hardly_images_are_mentioned(tmp_path, largest, told):
    x = (np.arange(40) * largest // 39).astype("uint8").reshape(20, 2)
    for y in (np.arange(20) % 2, np.eye(2)[np.arange(20) % 2]):
        np.savez(tmp_path / "bytes.npz", x=x, y=y)
        _, reading = read_table(tmp_path / "bytes.npz", device="numpy")
        note = f"x is uint8 and divided by 255, though its largest number is {largest}"
        assert (note in reading.lines()) == told
        assert max(map(len, reading.lines())) <= 80
    np.savez(tmp_path / "bytes.npz", x=x.astype("float32"), y=y)
    (training, *_), reading = read_table(tmp_path / "bytes.npz", device="numpy")
    assert training.x.max() > 0.9 * largest
    assert not reading.notes
