"""The schedules against PyTorch's, step by step, and against what they say of themselves."""

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import need

from nn_any.core.schedules import (
    Constant,
    Cosine,
    ExponentialDecay,
    HalveOnNoImprovement,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
    as_schedule,
    higher_is_better,
)

STEPS = 10


def rates(schedule, epochs, steps=STEPS):
    """All learning rates of so many epochs, one after the other."""
    each = [schedule(epoch, steps, ()) for epoch in range(epochs)]
    for rates in each:
        assert rates.shape == (steps,)
        assert rates.dtype == np.float64
    return np.concatenate(each)


def torch_rates(count, make, rate=0.5, **arguments):
    """The rates of so many steps of one of PyTorch's schedulers."""
    torch = need("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler = getattr(torch.optim.lr_scheduler, make)(optimizer, **arguments)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.asarray(found)


def test_constant():
    np.testing.assert_array_equal(rates(Constant(0.5), 3), np.full(30, 0.5))
    assert as_schedule(2) == Constant(2.0)
    assert as_schedule(np.float32(0.5)) == Constant(0.5)
    own = StepDecay(0.1, 2)
    assert as_schedule(own) is own


@pytest.mark.parametrize(
    ("every", "steps"), [(2, 10), (0.5, 10), (0.1, 10), (0.3, 10), (0.7, 10), (1.5, 4), (0.1, 100)]
)
def test_step_decay_as_pytorch(every, steps):
    expected = torch_rates(6 * steps, "StepLR", step_size=round(every * steps), gamma=0.8)
    np.testing.assert_allclose(rates(StepDecay(0.5, every, 0.8), 6, steps), expected, rtol=1e-13)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_exponential_decay_as_pytorch(factor):
    expected = torch_rates(60, "ExponentialLR", gamma=factor ** (1 / STEPS))
    np.testing.assert_allclose(rates(ExponentialDecay(0.5, factor), 6), expected, rtol=1e-13)


@pytest.mark.parametrize("final", [0.0, 0.01])
def test_cosine_as_pytorch(final):
    got = rates(Cosine(0.5, 5, final), 8)
    np.testing.assert_allclose(got[:50], torch_rates(50, "CosineAnnealingLR", T_max=50, eta_min=final), rtol=1e-12)
    np.testing.assert_array_equal(got[50:], final)
    # a fraction of an epoch is a number of steps
    part = torch_rates(25, "CosineAnnealingLR", T_max=25, eta_min=final)
    np.testing.assert_allclose(rates(Cosine(0.5, 2.5, final), 3)[:25], part, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"warmup": 0.5, "start_factor": 10.0, "final_factor": 100.0},
        {"warmup": 0.0},
        {"warmup": 0.01},
        {"warmup": 0.99},
        {"start_factor": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("epochs", "steps"), [(3, 10), (1, 10), (5, 7), (4, 1)])
def test_one_cycle_as_pytorch(arguments, epochs, steps):
    names = {"warmup": "pct_start", "start_factor": "div_factor", "final_factor": "final_div_factor"}
    expected = torch_rates(
        epochs * steps,
        "OneCycleLR",
        max_lr=0.5,
        total_steps=epochs * steps,
        cycle_momentum=False,
        **{names[name]: value for name, value in arguments.items()},
    )
    got = rates(OneCycle(0.5, epochs, **arguments), epochs + 2, steps)
    np.testing.assert_allclose(got[: epochs * steps], expected, rtol=1e-10)
    np.testing.assert_allclose(got[epochs * steps :], expected[-1], rtol=1e-10)


def test_one_cycle_whose_way_up_is_one_step():
    got = rates(OneCycle(0.5, 1, warmup=0.1), 1)
    assert got[0] == 0.5
    assert (np.diff(got) < 0).all()
    assert np.isfinite(rates(OneCycle(0.5, 0.5), 2, 1)).all()


@pytest.mark.parametrize("start", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("epochs", [1, 2, 0.5, 1.3])
def test_warm_up_as_pytorch(start, epochs):
    """PyTorch's linear rise, then the other schedule from its own beginning, wherever in an epoch that is."""
    count = round(epochs * STEPS)
    for inner in (Cosine(0.5, 2), StepDecay(0.5, 1.0), 0.5):
        got = rates(WarmUp(inner, epochs, start), 5)
        expected = torch_rates(count, "LinearLR", start_factor=start, total_iters=count)
        np.testing.assert_allclose(got[:count], expected, rtol=1e-12)
        np.testing.assert_array_equal(got[count:], rates(as_schedule(inner), 5)[: 50 - count])


def test_warm_up_from_nothing_and_over_half_a_step():
    np.testing.assert_allclose(rates(WarmUp(0.4, 2), 3, 2), [0, 0.1, 0.2, 0.3, 0.4, 0.4])
    np.testing.assert_allclose(rates(WarmUp(Constant(0.4), 0.375), 2, 4), [0, 0.4 * 2 / 3, *[0.4] * 6])


@pytest.mark.parametrize("epochs", [2, 1.5])
def test_warm_up_hides_its_own_records(epochs):
    inner = HalveOnNoImprovement(1.0, patience=1, until=0.5)
    schedule = WarmUp(inner, epochs, 0.5)
    records = [{"validation_accuracy": a} for a in (0.9, 0.9, 0.5, 0.5)]
    assert not schedule.finished(records[:3])  # the third is the first that counts
    assert schedule.finished(records)
    np.testing.assert_array_equal(schedule(4, 2, records), [0.5, 0.5])


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 2},
        {"patience": 0},
        {"patience": 1, "factor": 0.5, "cooldown": 2},
        {"patience": 1, "threshold": 0.1},
        {"patience": 0, "threshold": 0.0, "minimum": 0.02},
        {"patience": 2, "mode": "max"},
    ],
    ids=str,
)
def test_reduce_on_plateau_as_pytorch(arguments):
    torch = need("torch")
    rng = np.random.default_rng(0)
    losses = np.exp(-np.arange(60) / 15) + 0.1 * rng.uniform(size=60)
    losses[20] = np.nan
    losses[40:] = losses[40]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        eps=0.0,
        **{("min_lr" if name == "minimum" else name): value for name, value in arguments.items()},
    )
    ours, records = ReduceOnPlateau(0.5, **arguments), []
    for epoch, loss in enumerate(losses):
        np.testing.assert_allclose(ours(epoch, 3, records), [optimizer.param_groups[0]["lr"]] * 3, rtol=1e-13)
        theirs.step(loss)
        records.append({"epoch": epoch + 1, "validation_loss": loss})
    assert ours(60, 1, records)[0] < 0.5
    assert not ours.finished(records)


def test_a_minimum_above_the_rate_does_not_raise_it():
    records = [{"validation_loss": 1.0}] * 3
    assert ReduceOnPlateau(0.1, patience=0, minimum=0.5)(3, 1, records)[0] == 0.1


def test_which_way_is_better():
    up = [{"score": s, "validation_accuracy": s, "loss": s} for s in (0.1, 0.2, 0.3)]
    assert ReduceOnPlateau(1.0, "validation_accuracy", patience=0)(3, 1, up)[0] == 1.0
    assert ReduceOnPlateau(1.0, "loss", patience=0)(3, 1, up)[0] == pytest.approx(0.01)
    assert ReduceOnPlateau(1.0, "loss", "max", patience=0)(3, 1, up)[0] == 1.0
    for name in ("validation_accuracy", "test_correct", "validation_f1", "member_test_recall", "validation_r2", "r2"):
        assert higher_is_better(name)
    for name in ("loss", "validation_loss", "member_training_mean_absolute_error", "seconds"):
        assert not higher_is_better(name)


@pytest.mark.parametrize(
    "name",
    ["validation_kappa", "validation_kappa_loss", "neg_log_loss", "brier_score", "inaccuracy", "epoch", "", "f10"],
)
def test_a_name_that_nobody_knows_says_nothing(name):
    """A part of a name is no ground: more of brier_score is worse, more of neg_log_loss better."""
    for schedule in (
        ReduceOnPlateau(1.0, name),
        HalveOnNoImprovement(1.0, name),
        WarmUp(ReduceOnPlateau(1.0, name), 3),
    ):
        with pytest.raises(
            ValueError, match="monitor: expected a column of which it is known .* mode='max' or mode='min'"
        ):
            schedule.begin([name], {})
    assert ReduceOnPlateau(1.0, name, "max").begin([name], {}) == ReduceOnPlateau(1.0, name, "max")


def test_a_metric_may_say_itself_which_way_is_better():
    own = {"kappa": True, "cost": False, "f1": False}
    for name, mode in (("validation_kappa", "max"), ("test_cost", "min")):
        assert ReduceOnPlateau(1.0, name).begin([name], own) == ReduceOnPlateau(1.0, name, mode)
        assert HalveOnNoImprovement(1.0, name).begin([name], own) == HalveOnNoImprovement(1.0, name, mode=mode)
        assert WarmUp(ReduceOnPlateau(1.0, name), 2).begin([name], own).schedule.mode == mode
    assert not higher_is_better("validation_f1", own)
    known = ReduceOnPlateau(1.0)
    assert known.begin(["validation_loss"], own) is known


def plateau_by_hand(values, patience, threshold, up):
    """The rates of ReduceOnPlateau with an improvement larger than the part `threshold` of the best value's size."""
    rate, best, bad, rates = 1.0, None, 0, []
    for value in values:
        gain = None if best is None else (value - best if up else best - value)
        better = gain is None or (gain > 0 and gain > threshold * abs(best))
        best, bad = (value, 0) if better else (best, bad + 1)
        if bad > patience:
            rate, bad = rate / 10, 0
        rates.append(rate)
    return rates


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("shift", [-100.0, 0.0, 100.0])
def test_plateaus_of_any_sign(mode, shift):
    values = shift + np.random.default_rng(1).normal(size=80).cumsum().round(1) / 50
    schedule, records = ReduceOnPlateau(1.0, "loss", mode, patience=2, threshold=1e-3), [{"loss": v} for v in values]
    got = [schedule(n, 1, records[:n])[0] for n in range(1, 81)]
    np.testing.assert_allclose(got, plateau_by_hand(values, 2, 1e-3, mode == "max"))
    assert got[-1] < 0.1


def test_a_loss_that_stays_is_a_plateau_whatever_its_sign():
    for value in (-100.0, 100.0, 0.0):
        records = [{"validation_loss": value}] * 5
        assert ReduceOnPlateau(1.0, patience=0)(5, 1, records)[0] == pytest.approx(1e-4)
        assert HalveOnNoImprovement(1.0, "validation_loss", 1)(5, 1, records)[0] == 1 / 16
    falling = [{"validation_loss": value} for value in (-100.0, -101.0, -102.0)]
    assert ReduceOnPlateau(1.0, patience=0)(3, 1, falling)[0] == 1.0


def test_a_measure_that_is_no_number():
    with pytest.raises(
        ValueError, match="monitor: expected a column with one number an epoch, got 'm', which holds a list"
    ):
        ReduceOnPlateau(1.0, "m", "max")(1, 1, [{"m": [1.0, 2.0]}])


def test_halve_on_no_improvement():
    schedule = HalveOnNoImprovement(0.8, patience=3)
    accuracies = [0.5, 0.6, 0.6, 0.55, 0.6, 0.7, 0.7, 0.7, 0.7] + 100 * [0.7]
    records = [{"validation_accuracy": a} for a in accuracies]
    got = [schedule(epoch, 1, records[:epoch])[0] for epoch in range(len(records))]
    # the best is three epochs old after the fifth, halved again after the ninth, and then every three epochs
    assert got[:12] == [0.8] * 5 + [0.4] * 4 + [0.2] * 3
    finished = [schedule.finished(records[:epoch]) for epoch in range(len(records))]
    end = finished.index(True)
    assert end == 5 + 4 + 5 * 3
    assert got[end - 1] == 0.8 / 64
    assert got[end] == 0.8 / 128
    assert all(finished[end:])
    assert HalveOnNoImprovement(1.0, "loss", 1)(2, 1, [{"loss": 2.0}, {"loss": 1.0}])[0] == 1.0


@pytest.mark.parametrize("schedule", [ReduceOnPlateau(0.1), HalveOnNoImprovement(0.1)])
def test_a_measure_that_nobody_recorded(schedule):
    np.testing.assert_array_equal(schedule(0, 2), [0.1, 0.1])
    with pytest.raises(
        ValueError, match=rf"monitor: expected one of the recorded epoch, loss, got '{schedule.monitor}'; choose"
    ):
        schedule(1, 2, [{"epoch": 1, "loss": 0.5}])


def test_ones_own_schedule():
    @dataclass(frozen=True)
    class Harmonic(Schedule):
        rate: float

        def __call__(self, epoch, steps, records=()):
            return self.rate / (1 + epoch + np.arange(steps) / steps)

    np.testing.assert_allclose(rates(WarmUp(Harmonic(1.0), 1, 1.0), 2, 2), [1, 1, 1, 2 / 3])
    assert not Harmonic(1.0).finished([{"loss": 1.0}])
    with pytest.raises(NotImplementedError, match="Schedule must define __call__"):
        Schedule()(0, 1)


def test_they_compare_by_value_and_keep_plain_numbers():
    assert len({StepDecay(1, 2), StepDecay(1.0, np.int64(2)), StepDecay(1.0, 3)}) == 2
    assert repr(StepDecay(np.float64(1), np.float32(0.5))) == "StepDecay(rate=1.0, every=0.5, factor=0.1)"
    assert hash(WarmUp(0.1, 2)) == hash(WarmUp(Constant(0.1), 2.0))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: as_schedule(0), ValueError, "learning_rate: expected a positive, finite number, got 0"),
        (lambda: as_schedule(True), TypeError, "learning_rate: expected a positive number, got True"),
        (lambda: as_schedule("fast"), TypeError, "learning_rate: expected a positive number, got 'fast'"),
        (lambda: Constant(-1.0), ValueError, "rate: expected .* above 0, got -1.0"),
        (lambda: StepDecay(0.1, 0), ValueError, "every: expected .* above 0, got 0"),
        (lambda: StepDecay(0.1, 2, 0.0), ValueError, "factor: expected .* above 0, got 0.0"),
        (lambda: ExponentialDecay(0.1, float("nan")), ValueError, "factor: expected .*, got nan"),
        (lambda: Cosine(0.1, -3), ValueError, "epochs: expected .* above 0, got -3"),
        (lambda: Cosine(0.1, 3, -0.1), ValueError, "final: expected .* at least 0, got -0.1"),
        (lambda: OneCycle(0.1, 3, warmup=1.0), ValueError, "warmup: expected .* below 1, got 1.0"),
        (lambda: OneCycle(None, 3), TypeError, "peak: expected a number, got None"),
        (lambda: WarmUp("fast", 3), TypeError, "schedule: expected a positive number, got 'fast'; .* or a Schedule"),
        (lambda: WarmUp(0.1, 3, 1.5), ValueError, "start: expected .* at most 1, got 1.5"),
        (lambda: ReduceOnPlateau(0.1, factor=1.0), ValueError, "factor: expected .* below 1, got 1.0"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), ValueError, "patience: expected an integer of at least 0, got -1"),
        (lambda: ReduceOnPlateau(0.1, cooldown=0.5), TypeError, "cooldown: expected an integer .*, got 0.5"),
        (lambda: ReduceOnPlateau(0.1, mode="up"), ValueError, "mode: expected one of 'min', 'max', got 'up'"),
        (lambda: ReduceOnPlateau(0.1, monitor=3), TypeError, "monitor: expected the name of a recorded value, got 3"),
        (lambda: HalveOnNoImprovement(0.1, patience=0), ValueError, "patience: expected a positive integer, got 0"),
        (lambda: HalveOnNoImprovement(0.1, until=1.0), ValueError, "until: expected .* below 1, got 1.0"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()
