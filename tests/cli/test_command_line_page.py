"""The session of docs/command_line.md: its commands do what the page says."""

import re
import shlex
from pathlib import Path

import pytest
from cli_tools import call

PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"


def test_the_session(tmp_path, monkeypatch, capsys):
    for library in ("pandas", "PIL", "onnx"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")
    said = {}
    for kind, block in re.findall(r"```(python|console)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if kind == "python":
            exec(block, {})
            continue
        command, _, shown = block.removeprefix("$ ").partition("\n")
        if "|" in command or ">" in command:
            continue
        name, *arguments = shlex.split(command)
        assert name == "nn-any"
        code = 1 if shown.startswith("error:") else 0
        said[command] = shown, *call(capsys, *arguments, code=code)
    for command, (shown, out, err) in said.items():
        if "info" in command or "export" in command or shown.startswith("error:"):
            both = (re.sub("trained .*", "", text).split() for text in (out + err, shown))  # epochs go by rounding
            assert next(both) == next(both), command
        if command.startswith("nn-any predict") and out:
            column = [line.split(",")[-4 if "wines" in command else 1] for line in out.splitlines()[1:]]
            cells = [line.split()[1] for line in shown.splitlines() if re.match(r" +(\d|seven)", line)]
            assert column == cells, command
            assert err == shown[: len(err)]
    shares = re.findall(r"accuracy +([\d.]+) %", " ".join(out for _, out, _ in said.values()))
    assert (len(said), len(shares)) == (11, 3)
    assert min(map(float, shares)) > 90
