"""The folder that a command saves in."""

import os
import subprocess
import sys

import pytest

from nn_any.cli.app import app

from . import place


@pytest.fixture
def train(tmp_path, monkeypatch):
    """``nn-any train`` for one epoch; its errors as they are."""
    monkeypatch.chdir(tmp_path)

    def run(output):
        arguments = ["train", "--epochs", "1", "--quiet", "--device", "numpy", "--output", output]
        return app(arguments, exit_on_error=False, print_error=False, result_action="return_value")

    return run


@place(
    "cli/fitting.py _claim: output: expected a folder that can be written, got",
    "got file",
    "choose another folder",
)
def test_a_file_in_the_place_of_the_folder(refused, train, tmp_path):
    (tmp_path / "file").write_text("")
    with refused:
        train("file")
    assert train("other") == 0


@pytest.mark.skipif(os.name != "posix", reason="files are not locked")
@place(
    "cli/fitting.py _claim: output: {} is in use by another run; wait for its",
    "out is in use",
    "wait for its end, or choose another folder",
)
def test_a_folder_that_another_run_saves_in(refused, train, tmp_path):
    (tmp_path / "out").mkdir()
    code = "import sys; from nn_any.files import claim; claim(sys.argv[1]); print(flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, str(tmp_path / "out" / "model.safetensors")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with refused:
            train("out")
        assert train("other") == 0
        other.kill()
    assert train("out") == 0
