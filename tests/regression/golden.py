"""What some of the set-ups led to in version 0.1.0, in files: ``python -m tests.regression.golden`` writes them.

It is to be run with the code of commit 84514f2, on NumPy; `test_golden` holds every backend to them.
"""

import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"
CHOSEN = (
    "momentum",
    "adamw_schedules",
    "clipping_and_max_norm",
    "convolution",
    "weighted_examples",
    "going_on",
    "regression",
    "ensemble_own_options",
    "book_network2",
)
KEPT = 48
"""How many numbers of an array are kept."""


def digest(results):
    """The numbers to hold to: of large arrays some that lie evenly, and the root of the mean square of all."""
    kept = {}
    for name, value in results.items():
        layer_file = ".file." in name and ".state." not in name  # parameters, which the weights tell as well
        if isinstance(value, str) or layer_file or name.endswith(".length"):
            continue
        flat = value.reshape(-1)
        kept[name] = flat[:: -(-flat.size // KEPT)] if flat.size else flat
        if flat.size > KEPT:
            kept[f"{name}.size"] = np.sqrt(np.mean(np.square(flat.astype("float64"))))
    return kept


def main():
    from .setups import SETUPS

    FOLDER.mkdir(exist_ok=True)
    for name in CHOSEN:
        with tempfile.TemporaryDirectory() as folder:
            kept = digest(SETUPS[name]("numpy", "auto", Path(folder), brief=True))
        np.savez_compressed(FOLDER / f"{name}.npz", **kept)
        print(f"{name}: {len(kept)} arrays, {(FOLDER / f'{name}.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
