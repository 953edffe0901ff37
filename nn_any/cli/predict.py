"""``nn-any predict``: what a trained network says of new examples."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

import nn_any as nn
from nn_any.cli import options
from nn_any.cli.answers import Answers, answer, csv_text, json_text, table_text
from nn_any.cli.console import counted, error_console, print_line, print_text
from nn_any.cli.models import find_model, open_model
from nn_any.core.errors import InvalidValueError
from nn_any.core.options import positive
from nn_any.datasets.image_file import SUFFIXES as PICTURES
from nn_any.datasets.new_examples import SUFFIXES, read_inputs
from nn_any.files import write_atomically

STANDARD_INPUT = "standard input"


def predict(
    model: Path,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    target: options.LeftOutOption = None,
    header: options.NamesOption = None,
    invert: options.Flag = False,
    white: float | None = None,
    probabilities: Annotated[bool | None, Parameter(negative="--no-probabilities")] = None,
    device: str | None = None,
    as_csv: Annotated[bool, Parameter(name="--csv", negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    output: Path | None = None,
    overwrite: options.Flag = False,
    quiet: options.Flag = False,
) -> int:
    """Predict new examples with a trained model: a table on a terminal, else comma-separated values.

    Parameters
    ----------
    model
        A model file, or the folder of a run with its model.safetensors.
    files
        .csv, .npz (x, or a single array), .npy, .png and .jpg files; - is CSV on standard input. Columns are found by
        the names that the network was trained with, whatever their order; files without names go by place.
    invert
        Make the black of pictures white: for dark ink on paper, and a network trained with light on dark.
    white
        What white is in the inputs of the network, where the model does not say how its pixels were stored.
    probabilities
        Whether to give the probability of each class, by default if the network has them.
    device
        As for train, but for fastest.
    as_csv
        Comma-separated values, on a terminal as well.
    as_json
        JSON.
    output
        A file to write to, instead of standard output: JSON if its name ends in .json, else comma-separated values.
    overwrite
        Replace the output file if it is there.
    quiet
        Say nothing of what was left out or resized.
    """
    _check_options(files, as_csv, as_json, output, overwrite)
    with options.usage_errors():
        chosen_device = nn.select_device(device)
        white = None if white is None else positive("white", white)
    path = find_model(model)
    net = open_model(path, str(chosen_device))
    wants = _wants_probabilities(net, probabilities)
    how: dict[str, Any] = {"target": target, "header": options.as_flag(header), "invert": invert, "white": white}
    said: dict[str, list[str]] = {}
    found = []
    for file in files:
        with _opened(file) as place, options.argument_errors(), _named(place, file):
            inputs = read_inputs(place, net.specification, **how)
        if white is None and place.suffix.lower() in PICTURES:
            _check_white(net)
        for note in inputs.notes:
            said.setdefault(note, []).append(_show(file))
        found.append(answer(net, _show(file), inputs.x, wants))
    if not quiet:
        _tell(error_console(), said)
    return _write(net, path, found, as_csv, as_json, output)


def _check_options(files: Sequence[str], as_csv: bool, as_json: bool, output: Path | None, overwrite: bool) -> None:
    """The options fit each other, and every file is of a known kind."""
    if not files:
        raise options.UsageError(
            f"files: expected files to predict, ending in {', '.join(SUFFIXES)}, or - for standard input, got none"
        )
    for file in files:
        if file != "-" and Path(file).suffix.lower() not in SUFFIXES:
            raise options.UsageError(
                f"files: expected files ending in {', '.join(SUFFIXES)}, or - for standard input, got {file!r}"
            )
    if files.count("-") > 1:
        raise options.UsageError("files: expected - once, for standard input is read once; leave the others out")
    if as_csv and as_json:
        raise options.UsageError("csv: expected --csv or --json, got both; leave one of them out")
    if output is not None and output.suffix.lower() not in ("", ".csv", ".txt", ".json"):
        raise options.UsageError(f"output: expected a file ending in .csv or .json, got {str(output)!r}")
    if output is not None and output.exists() and not overwrite:
        raise options.UsageError(f"output: {output} is there already; choose another file, or add --overwrite")


def _wants_probabilities(net: nn.Network | nn.Ensemble, given: bool | None) -> bool:
    """Whether to give probabilities: by default if there are any."""
    there = not net.is_regression and net.specification.gives_probabilities
    if given and not there:
        what = "one that predicts numbers" if net.is_regression else net.specification.output_activation.name
        raise options.UsageError(
            f"probabilities: expected a classifier with outputs within 0 … 1, got {what}; leave it out"
        )
    return there if given is None else given


def _check_white(net: nn.Network | nn.Ensemble) -> None:
    """A network without a scale that standardises its inputs was not trained on larger numbers than 1."""
    for layer, state in zip(net.layers, net.snapshot.blocks[0].layer_state, strict=True):
        if net.schema.scale is None and isinstance(layer, nn.Standardize) and layer.measures == "inputs":
            brightest = float(nn.to_numpy(state[0]).max())
            if brightest > 1.01:
                raise options.UsageError(
                    f"white: expected what white was in training, where a pixel was {brightest:.3g} on average, got "
                    "none; add --white 255, or the number that it was"
                )


def _show(file: str) -> str:
    return STANDARD_INPUT if file == "-" else file


@contextmanager
def _opened(file: str) -> Iterator[Path]:
    """The path of a file; standard input becomes a file for as long as it is read."""
    if file != "-":
        yield Path(file)
        return
    with TemporaryDirectory() as folder:
        place = Path(folder) / f"{STANDARD_INPUT}.csv"
        place.write_bytes(sys.stdin.buffer.read())
        yield place


@contextmanager
def _named(place: Path, file: str) -> Iterator[None]:
    """Errors name standard input, not the file that it became."""
    try:
        yield
    except InvalidValueError as error:
        if file != "-":
            raise
        raise type(error)(str(error).replace(str(place), STANDARD_INPUT)) from error


def _tell(console: Console, said: dict[str, list[str]]) -> None:
    """Say once what was done to the files."""
    for note, files in said.items():
        others = f" and {counted(len(files) - 1, 'other file')}" if len(files) > 1 else ""
        print_line(console, f"{files[0]}{others}: {note}")


def _write(
    net: nn.Network | nn.Ensemble, path: Path, found: list[Answers], as_csv: bool, as_json: bool, output: Path | None
) -> int:
    """The answers, in the format and in the place that were asked for."""
    count = sum(len(each.answers) for each in found)
    if output is not None:
        as_json = as_json or (output.suffix.lower() == ".json" and not as_csv)
        text = json_text(net, path, found) if as_json else csv_text(net, found)
        write_atomically(output, text.encode())
        print_line(error_console(), f"{counted(count, 'prediction')} in {output}")
        return 0
    if as_json:
        text = json_text(net, path, found)
    elif as_csv or sys.stdout is None or not sys.stdout.isatty():
        text = csv_text(net, found)
    else:
        text = table_text(net, found)
    print_text(text, "the predictions could not be printed")
    return 0
