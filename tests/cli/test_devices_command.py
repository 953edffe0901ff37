"""``nn-any devices``."""

import pytest
from cli_tools import run

import nn_any as nn


@pytest.mark.slow
def test_devices(tmp_path):
    done = run("devices", cwd=tmp_path, PYTHONWARNINGS="default")
    assert done.returncode == 0
    assert "numpy:cpu" in done.stdout
    assert "auto is " in done.stdout
    for report in nn.backends.survey():
        assert report.library in done.stdout
