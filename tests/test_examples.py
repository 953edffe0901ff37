"""Examples and the blocks of README and docs run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "NN_ANY_DEVICE"} | {
    "PYTHONWARNINGS": "error",
    "PYTHONUTF8": "1",
}

ARGUMENTS = {"mnist_recipe.py": ["--data", "digits", "--epochs", "2"]}

# What the last line of each prints, or the picture that it leaves.
ENDS = {
    "ten_lines.py": r"it says ( \d){12}\n$",
    "every_device.py": r"(?s)torch:cpu +│ replay .* 0\.0e\+00.*torch:cpu +│ eager +│[^\n]*[1-9]\.\de-0[678]",
    "mnist_recipe.py": r"\d\d\.\d\d% of 180 test images are right, on .*, in \d:\d\d\n$",
    "ensemble.py": r"the best alone, at \d+: 9\d\.\d% of the test digits\nthe vote of all: 9\d\.\d%\n$",
    "own_data.py": r"9\d\.\d% of 150 test points are right.*\nthe picture is in own_data.png\n$",
    "book_chapter_1.py": r"\[64, 100, 10\]\W+2\d\d \(7\d\.\d\d%\)\W+29\d \(9\d\.\d\d%\)",
}


def run(arguments, folder, environment):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path, tmp_path):
    environment = dict(ENVIRONMENT)
    if path.name == "every_device.py":
        environment.pop("PYTHONWARNINGS")  # it imports every library there is, and some of those warn
    done = run([path, *ARGUMENTS.get(path.name, [])], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert re.search(ENDS[path.name], done.stdout), done.stdout
    if path.name == "own_data.py":
        assert (tmp_path / "own_data.png").stat().st_size > 10_000


def blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)


LONG = [pytest.param(f"docs/{name}.md", marks=pytest.mark.slow) for name in ("extending", "guide", "exchange")]


@pytest.mark.parametrize("path", ["README.md", "docs/data.md", "docs/estimators.md", *LONG])
def test_blocks_of_the_documents(path, tmp_path):
    """All Python blocks of a page as one program; the book's cells, which need MNIST, are tested elsewhere."""
    code = "\n".join(block for block in blocks(path) if "mnist_loader" not in block)
    assert code.count("nn.Network") >= 1
    done = run(["-c", code], tmp_path, ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def test_links_of_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_continuous_integration_runs_the_readmes_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("train", "test"):
        assert re.search(rf"<!-- {name} -->\n```sh\n.+\n```", readme)
        assert f"readme_command {name}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
