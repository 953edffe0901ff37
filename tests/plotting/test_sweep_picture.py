"""The picture of a sweep."""

import pytest

from nn_any import plotting


def test_what_the_picture_shows(tmp_path, monkeypatch):
    """A line a weight decay over the rates in order, its band, a ring at the best, a cross where all is lost."""
    from matplotlib.figure import Figure

    kept = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: kept.append(figure) or save(figure, *a, **k))
    values = {(1.0, 0.0): 0.9, (0.1, 0.0): 0.5, (1.0, 0.1): 0.6, (0.1, 0.1): 0.4, (10.0, 0.0): None}
    rows = [
        {"learning_rate": rate, "weight_decay": decay, "mean": mean, "spread": 0.05, "drawn": False}
        for (rate, decay), mean in values.items()
    ]
    plotting.sweep_picture(tmp_path / "a.png", rows, "validation accuracy", "title", 3)
    (axes,) = kept[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["0"].get_xdata().tolist() == [0.1, 1.0]
    assert lines["0"].get_ydata().tolist() == [50.0, 90.0]
    assert lines["0.1"].get_ydata().tolist() == [40.0, 60.0]
    assert lines["diverged"].get_xdata().tolist() == [10.0]
    assert [(1.0,), (90.0,)] in [[tuple(line.get_xdata()), tuple(line.get_ydata())] for line in axes.lines]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (pytest.approx(45.0), pytest.approx(95.0))
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == (
        "log",
        "learning rate",
        "validation accuracy, %",
    )
