"""The optimisers against PyTorch's, step by step, and what they promise on every backend; L-BFGS."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.core import regularization
from nn_any.core.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from nn_any.core.schedules import HalveOnNoImprovement, Schedule, StepDecay
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.training.lbfgs import LBFGS, LBFGSState

SHAPES = (((4, 3), (4,)), (), ((2, 3, 3, 2), (2,)), ((5,),))  # dense, none, convolution, one that is never decayed
DECAYED = ((True, False), (), (True, False), (False,))
STEPS = 50
TOLERANCE = {"rtol": 1e-12, "atol": 1e-14}

# name: ours, PyTorch's class, its arguments
CASES = {
    "sgd": (SGD(0.1), "SGD", {"lr": 0.1}),
    "momentum": (SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (SGD(0.1, 0.8, True), "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "adam": (Adam(0.01), "Adam", {"lr": 0.01}),
    "adam betas": (
        Adam(0.02, beta1=0.5, beta2=0.9, epsilon=1e-3),
        "Adam",
        {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adam no mean": (Adam(0.02, beta1=0.0), "Adam", {"lr": 0.02, "betas": (0.0, 0.999)}),
    "adamw": (AdamW(0.01, weight_decay=0.0), "AdamW", {"lr": 0.01}),
    "rmsprop": (RMSprop(), "RMSprop", {}),
    "rmsprop momentum": (RMSprop(0.02, momentum=0.9), "RMSprop", {"lr": 0.02, "momentum": 0.9}),
    "rmsprop centered": (
        RMSprop(0.02, 0.9, centered=True, momentum=0.5),
        "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "centered": True, "momentum": 0.5},
    ),
    "adagrad": (Adagrad(), "Adagrad", {}),
    "adagrad started": (
        Adagrad(0.1, initial_accumulator=0.5),
        "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.5},
    ),
}
OURS = {name: ours for name, (ours, _, _) in CASES.items()}
EVERYTHING = {"weight_decay": 0.03, "l1": 0.01, "max_norm": 1.5, "clip_value": 0.6, "clip_norm": 1.2}


def draws(steps=STEPS, lead=(), seed=0):
    """Parameters and the gradients of each step, as trees of NumPy arrays of very different sizes."""
    rng = np.random.default_rng(seed)

    def tree(scale):
        return tuple(tuple(scale * rng.normal(0, 1, (*lead, *shape)) for shape in layer) for layer in SHAPES)

    return tree(1.0), [tree(10.0 ** rng.integers(-3, 2)) for _ in range(steps)]


def on(backend, tree, dtype="float64"):
    return tree_map(lambda values: backend.asarray(values, dtype), tree)


def host(tree):
    return tree_map(nn.to_numpy, tree)


def run(backend, optimizer, params, gradients, rates, dtype="float64"):
    """The parameters after each step, on the host."""
    params = on(backend, params, dtype)
    state, path = optimizer.init(params), []
    for values, rate in zip(gradients, rates, strict=True):
        rate = backend.asarray(rate, dtype)
        params, state = optimizer.step(on(backend, values, dtype), state, params, rate, DECAYED)
        path.append(host(params))
    return path, state


def torch_run(kind, arguments, params, gradients, *, weight_decay=0.0, before=lambda parameters: None):
    """The same with PyTorch; `before` may change the gradients of a step."""
    torch = need("torch")
    leaves = [torch.tensor(p, requires_grad=True) for p in tree_leaves(params)]
    flags = list(tree_leaves(DECAYED))
    groups = [
        {"params": [p for p, keep in zip(leaves, flags, strict=True) if keep == group], "weight_decay": decay}
        for group, decay in ((True, weight_decay), (False, 0.0))
    ]
    optimizer, path = getattr(torch.optim, kind)(groups, **arguments), []
    for values in gradients:
        for p, gradient in zip(leaves, tree_leaves(values), strict=True):
            p.grad = torch.tensor(gradient)
        before(leaves)
        optimizer.step()
        path.append([p.detach().numpy().copy() for p in leaves])
    return path


def compare(path, expected, **tolerance):
    assert len(path) == len(expected)
    for got, want in zip(path, expected, strict=True):
        for a, b in zip(tree_leaves(got), want, strict=True):
            np.testing.assert_allclose(a, b, **(tolerance or TOLERANCE))


@cache
def torch_case(name):
    """PyTorch's answer, once for all backends."""
    _, kind, arguments = CASES[name]
    return torch_run(kind, arguments, *draws(), weight_decay=0.05)


@pytest.mark.parametrize("name", CASES)
def test_step_by_step_as_pytorch(float64, name):
    ours = replace(OURS[name], weight_decay=0.05)
    compare(run(float64, ours, *draws(), [ours.learning_rate] * STEPS)[0], torch_case(name))


def test_defaults_are_pytorchs():
    torch = need("torch")
    params, gradients = draws()
    for ours, kind in ((Adam(), "Adam"), (AdamW(), "AdamW"), (RMSprop(), "RMSprop"), (Adagrad(), "Adagrad")):
        theirs = getattr(torch.optim, kind)([torch.zeros(1)]).defaults
        assert (ours.learning_rate, ours.weight_decay, ours.epsilon) == (
            theirs["lr"],
            theirs["weight_decay"],
            theirs["eps"],
        )
        path, _ = run(BARE, ours, params, gradients, [theirs["lr"]] * STEPS)
        compare(path, torch_run(kind, {}, params, gradients, weight_decay=theirs["weight_decay"]))


def test_rates_that_change_from_step_to_step_as_pytorch(float64):
    torch = need("torch")
    params, gradients = draws()
    rates = np.random.default_rng(1).uniform(0.001, 0.2, STEPS)
    for ours, kind, arguments in (CASES[name] for name in ("momentum", "adam", "rmsprop momentum")):
        leaves = [torch.tensor(p, requires_grad=True) for p in tree_leaves(params)]
        theirs, expected = getattr(torch.optim, kind)(leaves, **arguments), []
        for rate, values in zip(rates, gradients, strict=True):
            theirs.param_groups[0]["lr"] = rate
            for p, gradient in zip(leaves, tree_leaves(values), strict=True):
                p.grad = torch.tensor(gradient)
            theirs.step()
            expected.append([p.detach().numpy().copy() for p in leaves])
        compare(run(float64, ours, params, gradients, rates)[0], expected)


@pytest.mark.parametrize(
    "options", [{"clip_norm": 0.7}, {"clip_value": 0.4}, {"clip_norm": 0.7, "clip_value": 0.4}], ids=str
)
def test_clipping_as_pytorch(float64, options):
    torch = need("torch")
    params, gradients = draws()

    def clip(leaves):
        if "clip_value" in options:
            torch.nn.utils.clip_grad_value_(leaves, options["clip_value"])
        if "clip_norm" in options:
            torch.nn.utils.clip_grad_norm_(leaves, options["clip_norm"])

    expected = torch_run("SGD", {"lr": 0.1, "momentum": 0.9}, params, gradients, weight_decay=0.02, before=clip)
    ours = SGD(0.1, 0.9, weight_decay=0.02, **options)
    compare(run(float64, ours, params, gradients, [0.1] * STEPS)[0], expected)


def test_small_gradients_are_not_scaled_up(backend):
    params, _ = draws()
    gradients = tree_map(lambda w: np.full_like(w, 1e-3), params)
    path, _ = run(backend, SGD(0.5, clip_norm=10.0, clip_value=1.0), params, [gradients], [0.5], "float32")
    plain, _ = run(backend, SGD(0.5), params, [gradients], [0.5], "float32")
    compare(path, [list(tree_leaves(plain[0]))], rtol=0)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_l1_as_pytorch_with_the_sign_added_by_hand(float64, kind):
    params, gradients = draws()
    params[0][0][1, :] = 0.0  # no sign, no pull
    flags = list(tree_leaves(DECAYED))

    def add(leaves):
        for p, keep in zip(leaves, flags, strict=True):
            p.grad += keep * 0.05 * p.detach().sign()

    ours = {"SGD": SGD(0.1, l1=0.05), "AdamW": AdamW(0.1, weight_decay=0.01, l1=0.05)}[kind]
    expected = torch_run(kind, {"lr": 0.1}, params, gradients, weight_decay=ours.weight_decay, before=add)
    compare(run(float64, ours, params, gradients, [0.1] * STEPS)[0], expected)


def test_max_norm_unit_by_unit(float64):
    params, gradients = draws()
    path, _ = run(float64, SGD(0.1, max_norm=0.8), params, gradients, [0.1] * STEPS)
    expected, limited = params, 0
    for got, values in zip(path, gradients, strict=True):
        expected = tree_map(lambda w, g: w - 0.1 * g, expected, values)
        for layer in (0, 2):
            for unit in expected[layer][0]:  # a view: changed in place
                norm = np.sqrt(np.sum(unit**2))
                limited += norm > 0.8
                unit *= min(1.0, 0.8 / norm)
        compare([got], [list(tree_leaves(expected))])
    assert 0 < limited < 6 * STEPS


def test_zero_gradients_decay_weights_only(float64):
    params, _ = draws()
    zeros = tree_map(np.zeros_like, params)
    for optimizer in (SGD(0.5, weight_decay=0.1), AdamW(0.5, weight_decay=0.1)):
        (got,), _ = run(float64, optimizer, params, [zeros], [0.5])
        for a, before, keep in zip(tree_leaves(got), tree_leaves(params), tree_leaves(DECAYED), strict=True):
            np.testing.assert_allclose(a, before * (0.95 if keep else 1.0), rtol=1e-15)
    (got,), _ = run(float64, SGD(0.5, l1=0.1), params, [zeros], [0.5])
    for a, before, keep in zip(tree_leaves(got), tree_leaves(params), tree_leaves(DECAYED), strict=True):
        np.testing.assert_allclose(a, before - keep * 0.05 * np.sign(before), rtol=1e-15)


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["bare", "everything"])
@pytest.mark.parametrize("name", CASES)
def test_float32_stays_float32_and_inputs_stay_as_they_are(backend, name, options):
    optimizer = replace(OURS[name], **options)
    params, gradients = draws(3)
    now = on(backend, params, "float32")
    state, rate = optimizer.init(now), backend.asarray(optimizer.learning_rate, "float32")
    for values in gradients:
        values = on(backend, values, "float32")
        before = [host(tree) for tree in (values, state, now)]
        after, new_state = optimizer.step(values, state, now, rate, DECAYED)
        for tree, kept in zip((values, state, now), before, strict=True):
            for a, b in zip(tree_leaves(tree), tree_leaves(kept), strict=True):
                np.testing.assert_array_equal(nn.to_numpy(a), b)
        now, state = after, new_state
        for leaf in tree_leaves((now, state)):
            assert leaf.dtype == backend.xp.float32
            assert nn.to_numpy(leaf).dtype == np.float32
    for leaf, start in zip(tree_leaves(now), tree_leaves(params), strict=True):
        assert leaf.shape == start.shape
    # and the digits are those of float64, as far as float32 has them
    exact, _ = run(BARE, optimizer, params, gradients, [optimizer.learning_rate] * 3)
    compare([host(now)], [list(tree_leaves(exact[-1]))], rtol=1e-4, atol=1e-5)


def test_states_are_arrays_on_the_device_of_the_parameters(backend):
    params = on(backend, draws(0)[0], "float32")
    for optimizer in OURS.values():
        state = optimizer.init(params)
        _, after = optimizer.step(params, state, params, backend.asarray(0.1, "float32"), DECAYED)
        for tree in (state, after):
            for leaf in tree_leaves(tree):
                assert type(leaf) is type(params[0][0])
                assert leaf.device == params[0][0].device


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["bare", "everything"])
@pytest.mark.parametrize("name", CASES)
def test_an_ensemble_equals_its_members_alone(float64, name, options):
    optimizer = replace(OURS[name], **options)
    params, gradients = draws(6, lead=(3,))
    rates = np.asarray([0.3, 0.02, 0.1]) * optimizer.learning_rate
    together, _ = run(float64, optimizer, params, gradients, [rates] * 6)
    for member in range(3):
        pick = [tree_map(lambda values, i=member: values[i], tree) for tree in (params, *gradients, *together)]
        alone, _ = run(BARE, optimizer, pick[0], pick[1:7], [rates[member]] * 6)
        compare(pick[7:], [list(tree_leaves(tree)) for tree in alone])


@pytest.mark.parametrize("name", CASES)
def test_trees_without_parameters(backend, name):
    optimizer, rate = replace(OURS[name], **EVERYTHING), backend.asarray(0.1, "float32")
    for params in ((), ((),), ((), ())):
        after, state = optimizer.step(params, optimizer.init(params), params, rate, params)
        assert after == params
        assert list(tree_leaves(state)) == []


@pytest.mark.slow
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("name", ["nesterov", "adam", "rmsprop centered", "adagrad"])
def test_under_jit_as_without(name, lead):
    need("jax")
    import jax

    optimizer = replace(OURS[name], **EVERYTHING)
    params, gradients = draws(3, lead=lead)
    rate = np.full(lead, 0.1, "float32")
    expected, _ = run(BARE, optimizer, params, gradients, [rate] * 3, "float32")
    step = jax.jit(lambda g, s, p, r: optimizer.step(g, s, p, r, DECAYED))
    now = jax.tree.map(lambda w: jax.numpy.asarray(w, "float32"), params)
    state = jax.jit(optimizer.init)(now)
    for values in gradients:
        now, state = step(jax.tree.map(lambda g: jax.numpy.asarray(g, "float32"), values), state, now, rate)
    compare([tree_map(np.asarray, now)], [list(tree_leaves(expected[-1]))], rtol=1e-5, atol=1e-6)


def test_adams_first_steps_in_float32(backend):
    """The bias correction keeps its digits: 1 - 0.999 in float32 would be off in the fifth."""
    one = ((backend.asarray([1.0], "float32"),),)
    adam, params, rate = Adam(), ((backend.asarray([0.0], "float32"),),), backend.asarray(1.0, "float32")
    state = adam.init(params)
    for t in range(1, 4):
        params, state = adam.update(one, state, params, rate)
        np.testing.assert_allclose(nn.to_numpy(params[0][0]), [-t], rtol=2e-6)


def test_centred_rmsprop_survives_a_gradient_that_never_changes(backend):
    rms, rate = RMSprop(0.01, rho=0.5, centered=True), backend.asarray(0.01, "float32")
    params = ((backend.asarray(np.zeros(7), "float32"),),)
    gradients = ((backend.asarray(np.linspace(0.1, 3.3, 7), "float32"),),)
    state = rms.init(params)
    for _ in range(100):
        params, state = rms.update(gradients, state, params, rate)
    assert np.isfinite(nn.to_numpy(params[0][0])).all()


def test_plain_is_the_bare_rule_and_nothing_else():
    assert SGD(0.1).plain
    assert SGD(StepDecay(0.1, 2)).plain
    options = [{"momentum": 0.5}, *({name: value} for name, value in EVERYTHING.items())]
    for option in options:
        assert not SGD(0.1, **option).plain
    for optimizer in (Adam(), AdamW(), RMSprop(), Adagrad(), LBFGS(), Optimizer()):
        assert not optimizer.plain

    @dataclass(frozen=True)
    class Own(SGD):
        extra: float = 1.0

    assert not Own(0.1).plain
    assert [o.whole_batch for o in (LBFGS(), SGD(1.0), Adam())] == [True, False, False]


def test_they_compare_by_value_and_show_what_was_asked_for():
    assert SGD(1) == SGD(1.0) != SGD(2.0)
    assert hash(Adam(0.5, clip_norm=1)) == hash(Adam(np.float32(0.5), clip_norm=1.0))
    assert Adam() != AdamW(weight_decay=0.0)
    assert len({Adam(), Adam(0.001), Adam(0.002), Adam(StepDecay(0.1, 1)), Adam(StepDecay(0.1, 1))}) == 3
    assert repr(SGD(3)) == "SGD(learning_rate=3.0)"
    assert repr(SGD(0.1, 0.9, clip_norm=1)) == "SGD(learning_rate=0.1, momentum=0.9, clip_norm=1.0)"
    assert repr(Adam()) == "Adam()"
    for optimizer in (*OURS.values(), SGD(0.5, **EVERYTHING), Adam(StepDecay(1.0, 2))):
        assert eval(repr(optimizer)) == optimizer
    rate = SGD(np.float32(0.5), max_norm=np.float64(2)).max_norm
    assert type(rate) is float


@dataclass(frozen=True)
class Sign(Optimizer):
    """One's own: no options at all."""

    learning_rate: float | Schedule = 0.1

    def update(self, gradients, state, params, learning_rate):
        return tree_map(lambda w, g: w - learning_rate * (g / abs(g)), params, gradients), state


@dataclass(frozen=True)
class DecayedSign(Sign):
    weight_decay: float = 0.5


def test_ones_own_optimizer(float64):
    params, gradients = draws(1)
    (got,), state = run(float64, Sign(), params, gradients, [0.1])
    assert state == ()
    compare([got], [list(tree_leaves(tree_map(lambda w, g: w - 0.1 * np.sign(g), params, gradients[0])))])
    (got,), _ = run(float64, DecayedSign(), params, gradients, [0.1])
    moved = tree_map(lambda k, w, g: w - 0.1 * np.sign(g + k * 0.5 * w), DECAYED, params, gradients[0])
    compare([got], [list(tree_leaves(moved))])
    np.testing.assert_array_equal(Sign().rates(3, 2), [0.1, 0.1])
    assert not Sign().finished([])
    with pytest.raises(NotImplementedError, match="Optimizer must define update"):
        Optimizer().update((), (), (), None)
    with pytest.raises(NotImplementedError, match=r"Optimizer must define start\(x\) if its whole_batch is True"):
        Optimizer().start(np.zeros(2))
    with pytest.raises(NotImplementedError, match=r"Optimizer must define iterate\(state, function\) if"):
        Optimizer().iterate((), lambda x: (0.0, x))


def test_rates_come_from_the_schedule():
    np.testing.assert_allclose(SGD(StepDecay(1.0, 0.5)).rates(0, 4), [1, 1, 0.1, 0.1])
    assert SGD(0.25).rates(7, 3).dtype == np.float64
    halving = SGD(HalveOnNoImprovement(1.0, patience=1, until=0.5))
    records = [{"validation_accuracy": 0.5}] * 2
    np.testing.assert_array_equal(halving.rates(2, 1, records), [0.5])
    assert halving.finished(records)
    assert not halving.finished(records[:1])
    assert not SGD(0.1).finished(records)

    @dataclass(frozen=True)
    class Odd(Schedule):
        def __call__(self, epoch, steps, records=()):
            return 0.1

    with pytest.raises(ValueError, match=r"learning_rate: expected a schedule that gives one rate for each of 3 steps"):
        SGD(Odd()).rates(0, 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(0), ValueError, "learning_rate: expected a positive, finite number, got 0; pass"),
        (lambda: SGD(float("inf")), ValueError, "learning_rate: expected a positive, finite number, got inf"),
        (lambda: Adam(float("nan")), ValueError, "learning_rate: expected a positive, finite number, got nan"),
        (lambda: SGD("3"), TypeError, "learning_rate: expected a positive number, got '3'; .* or a Schedule"),
        (lambda: SGD(True), TypeError, "learning_rate: expected a positive number, got True"),
        (lambda: SGD(StepDecay), TypeError, "learning_rate: expected a positive number, got <class"),
        (lambda: SGD(0.1, momentum=1.0), ValueError, "momentum: expected .* at least 0 and below 1, got 1.0"),
        (lambda: SGD(0.1, momentum=-0.1), ValueError, "momentum: expected .*, got -0.1"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "nesterov: expected momentum above 0 .* pass momentum=0.9"),
        (lambda: SGD(0.1, momentum=0.5, nesterov=1), TypeError, "nesterov: expected True or False, got 1"),
        (lambda: SGD(0.1, weight_decay=-1.0), ValueError, "weight_decay: expected .* at least 0, got -1.0"),
        (lambda: SGD(0.1, l1="x"), TypeError, "l1: expected a number, got 'x'"),
        (lambda: SGD(0.1, max_norm=0), ValueError, "max_norm: expected .* above 0, got 0"),
        (lambda: SGD(0.1, clip_value=-2), ValueError, "clip_value: expected .* above 0, got -2"),
        (lambda: Adam(clip_norm=float("nan")), ValueError, "clip_norm: expected a finite number above 0, got nan"),
        (lambda: Adam(beta1=1.0), ValueError, "beta1: expected .* below 1, got 1.0"),
        (lambda: AdamW(beta2=-0.5), ValueError, "beta2: expected .*, got -0.5"),
        (lambda: Adam(epsilon=0), ValueError, "epsilon: expected .* above 0, got 0"),
        (lambda: RMSprop(rho=2.0), ValueError, "rho: expected .* below 1, got 2.0"),
        (lambda: RMSprop(centered="no"), TypeError, "centered: expected True or False, got 'no'"),
        (lambda: Adagrad(initial_accumulator=-1), ValueError, "initial_accumulator: expected .*, got -1"),
        (lambda: LBFGS(0), ValueError, "learning_rate: expected .* above 0, got 0"),
        (lambda: LBFGS(StepDecay(1.0, 2)), TypeError, "learning_rate: expected a number, got StepDecay"),
        (lambda: LBFGS(weight_decay=-1), ValueError, "weight_decay: expected .* at least 0, got -1"),
        (lambda: LBFGS(history=0), ValueError, "history: expected a positive integer, got 0"),
        (lambda: LBFGS(line_search="strong_wolfe"), TypeError, "line_search: expected True or False, got 'strong"),
        (lambda: LBFGS().start(np.zeros((2, 2))), ValueError, r"x: expected a vector \(n,\), got shape \(2, 2\)"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_global_norm_of_members():
    tree = ((np.asarray([[3.0], [1.0]]), np.asarray([[[4.0]], [[1.0]]])), (np.asarray([0.0, 1.0]),))
    np.testing.assert_allclose(regularization.global_norm(tree, lead=1, xp=np), [5.0, np.sqrt(3.0)])
    np.testing.assert_allclose(regularization.global_norm(tree, lead=0, xp=np), np.sqrt(28.0))


# --- L-BFGS


def rosenbrock(x):
    """The valley of four variables, and its gradient; the minimum is at ones."""
    gradient = np.zeros_like(x)
    gradient[1:] = 200 * (x[1:] - x[:-1] ** 2)
    gradient[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), gradient


START = np.asarray([-1.2, 1.0, -0.5, 0.7])
EXACT = {"gradient_tolerance": 0.0, "change_tolerance": 0.0}


def smooth(torch):
    """A function of 12 variables, neither quadratic nor badly scaled, for steps that nobody searches for."""
    rng = np.random.default_rng(0)
    a, b = torch.tensor(rng.normal(size=(20, 12))), torch.tensor(rng.normal(size=20))
    return rng.normal(size=12), lambda x: ((a @ x - b) ** 2 / 20).sum() + torch.log1p(x**2).sum()


@pytest.mark.parametrize("history", [2, 10])
@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_lbfgs_with_fixed_steps_as_pytorch(rate, history):
    torch = need("torch")
    start, function = smooth(torch)

    def value_and_gradient(x):
        x = torch.tensor(x, requires_grad=True)
        value = function(x)
        value.backward()
        return value.item(), x.grad.numpy()

    ours = LBFGS(rate, history, line_search=False, **EXACT)
    state = ours.start(start)
    for iterations in range(1, 13):
        x = torch.tensor(start, requires_grad=True)
        theirs = torch.optim.LBFGS(
            [x], rate, iterations, max_eval=99, tolerance_grad=0, tolerance_change=0, history_size=history
        )

        def closure(x=x, theirs=theirs):
            theirs.zero_grad()
            value = function(x)
            value.backward()
            return value

        theirs.step(closure)
        state = ours.iterate(state, value_and_gradient)
        assert state.iterations == iterations
        assert not state.converged
        np.testing.assert_allclose(state.x, x.detach().numpy(), rtol=1e-9)


def test_lbfgs_reaches_the_minimum_and_stays():
    lbfgs = LBFGS()
    state = lbfgs.start(START)
    assert np.isnan(state.value)
    while not state.converged:
        before, state = state.value, lbfgs.iterate(state, rosenbrock)
        assert not state.value > before
        assert state.iterations < 100
    np.testing.assert_allclose(state.x, 1.0, atol=1e-5)
    assert len(state.s) == len(state.y) == lbfgs.history
    assert lbfgs.iterate(state, rosenbrock) is state
    np.testing.assert_array_equal(START, [-1.2, 1.0, -0.5, 0.7])


def test_lbfgs_goes_as_far_as_it_is_asked_to():
    lbfgs = LBFGS(gradient_tolerance=1e-10, change_tolerance=0.0)
    state = lbfgs.start(START)
    while not state.converged:
        state = lbfgs.iterate(state, rosenbrock)
    np.testing.assert_allclose(state.x, 1.0, atol=1e-11)


@pytest.mark.parametrize("line_search", [True, False])
def test_lbfgs_goes_on_exactly_from_any_iteration(line_search):
    lbfgs = LBFGS(1.0 if line_search else 0.05, 4, line_search, **EXACT)

    def iterate(state, times):
        path = []
        for _ in range(times):
            state = lbfgs.iterate(state, rosenbrock)
            path.append(state)
        return path

    through = iterate(lbfgs.start(START), 15)
    for i, state in enumerate(through):
        restored = LBFGSState(*[np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for a in state])  # read-only
        for got, expected in zip(iterate(restored, 14 - i), through[i + 1 :], strict=True):
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b)
                assert isinstance(a, np.ndarray)
                assert a.dtype == b.dtype


def test_lbfgs_computes_nothing_twice():
    seen = []

    def function(x):
        seen.append(tuple(x))
        return rosenbrock(x)

    lbfgs = LBFGS()
    state = lbfgs.start(START)
    while not state.converged:
        state = lbfgs.iterate(state, function)
    assert len(seen) == len(set(seen)) < 3 * state.iterations


def test_lbfgs_begins_with_a_short_step():
    state = LBFGS(line_search=False).start(np.asarray([100.0, 0.0]))
    state = LBFGS(line_search=False).iterate(state, lambda x: (np.sum(x**2), 2 * x))
    np.testing.assert_allclose(state.x, [99.0, 0.0])


def test_lbfgs_where_the_function_ends():
    """Beyond 0 the logarithm is NaN, and the search turns back."""

    def function(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sum(x - np.log(x)), 1 - 1 / x

    lbfgs = LBFGS(50.0)
    state = lbfgs.start(np.asarray([0.01, 3.0]))
    while not state.converged:
        state = lbfgs.iterate(state, function)
        assert np.isfinite(state.x).all()
    np.testing.assert_allclose(state.x, 1.0, atol=1e-4)


def test_lbfgs_gives_up_where_no_step_helps():
    lbfgs = LBFGS()
    state = lbfgs.iterate(lbfgs.start(np.asarray([1.0, 2.0])), lambda x: (np.sum(x**2), -2 * x))
    assert state.converged
    np.testing.assert_array_equal(state.x, [1.0, 2.0])
    assert state.value == 5.0
    still = lbfgs.iterate(lbfgs.start(np.zeros(2)), lambda x: (np.sum(x**2), 2 * x))
    assert still.converged
    assert still.iterations == 0


def test_lbfgs_forgets_a_curvature_that_misleads():
    """A kink: the search fails there, steepest descent with ever shorter steps may not."""
    lbfgs = LBFGS()
    state = lbfgs.start(np.asarray([3.0, -2.0]))
    for _ in range(200):
        state = lbfgs.iterate(state, lambda x: (np.abs(x[0]) + 3 * np.abs(x[1]), np.sign(x) * [1, 3]))
    assert state.converged
    assert state.value < 3.0
    assert state.s.shape == (0, 2)


def test_lbfgs_shows_a_function_that_is_not_finite():
    lbfgs = LBFGS()
    state = lbfgs.iterate(lbfgs.start(np.ones(2)), lambda x: (np.nan, np.full(2, np.nan)))
    assert state.converged
    assert np.isnan(state.value)
    with pytest.raises(
        ValueError, match=r"function: expected a number and a gradient \(2,\), got shapes \(\) and \(3,"
    ):
        lbfgs.iterate(lbfgs.start(np.ones(2)), lambda x: (0.0, np.ones(3)))
    with pytest.raises(NotImplementedError, match="LBFGS has no update"):
        lbfgs.update((), (), (), None)


class Host:
    """NumPy without a fixture, where one answer is enough."""

    @staticmethod
    def asarray(values, dtype=None):
        return np.array(values, dtype=dtype)


BARE = Host()
