"""Every backend arrives at the numbers of version 0.1.0, to rounding."""

import re

import numpy as np
import pytest

from .golden import CHOSEN, FOLDER, digest
from .setups import SETUPS

COUNTS = re.compile(r"correct|accuracy|evaluate|f1|printed")
"""An output close to another may be rounded to the other side, so some answers more or less may be right."""


@pytest.mark.parametrize("name", CHOSEN)
def test_the_numbers_of_version_0_1_0(backend, name, tmp_path):
    engine = "eager" if backend.readonly else "auto"
    found = digest(SETUPS[name](backend.spec, engine, tmp_path, brief=True))
    with np.load(FOLDER / f"{name}.npz") as golden:
        assert sorted(found) == sorted(golden.files)
        for key, wanted in golden.items():
            slack = 3 if wanted.dtype.kind in "iu" else 0.03
            slack = slack if COUNTS.search(key) else 1e-4
            np.testing.assert_allclose(found[key], wanted, rtol=1e-3, atol=slack, err_msg=f"{name}, {key}")
