"""Activations, initialisers, layers, losses, optimisers, schedules, options and registries."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

import nn_any as nn
from nn_any.core import layers, options, primitives

from . import place, places

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
IMAGES = X.reshape(12, 2, 2, 1)


def fit(net, optimizer, x=X):
    return net.fit((x, Y), epochs=2, batch_size=4, optimizer=optimizer)


class Square(nn.activations.Activation):
    name = "remedy_square"

    def __call__(self, z, *, xp):
        return z * z

    def derivative(self, z, a, *, xp):
        return 2 * z


class Unfinished(nn.activations.Activation):
    name = "remedy_unfinished"


class Valued(Unfinished):
    __call__ = Square.__call__


def with_activation(activation):
    return nn.Network([4, nn.Dense(3, activation=activation)], seed=0)


@place("core/activations.py Activation.__call__: {} must define __call__(z, *, xp)", "Unfinished", "define __call__")
def test_an_activation_without_a_value(refused):
    with refused:
        with_activation(Unfinished()).feedforward(X)
    assert with_activation(Valued()).feedforward(X).shape == (12, 3)


@place(
    "core/activations.py Activation.derivative: {} must define derivative(z, a, *, xp)", "Valued", "define derivative"
)
def test_an_activation_without_a_derivative(refused):
    with refused:
        with_activation(Valued()).backprop(X, Y)
    with_activation(Square()).backprop(X, Y)


@place("core/activations.py Softmax.derivative: softmax has no elementwise derivative; use vjp", "softmax", "use vjp")
def test_the_derivative_of_softmax(refused):
    softmax, xp = nn.activations.get("softmax"), nn.select_device("numpy").xp
    a = softmax(X, xp=xp)
    with refused:
        softmax.derivative(X, a, xp=xp)
    np.testing.assert_allclose(softmax.vjp(X, a, np.ones_like(X), xp=xp), 0, atol=1e-6)  # the outputs sum to 1


@place("core/errors.py prefix_errors: {}: {}", "places[1]", "'cpu'")
def test_a_name_in_front_of_a_message(refused):
    time = partial(nn.time_devices, nn.Network([4, 3]), (X, Y), 4, seconds=1e-3)
    with refused:
        time(places=["numpy", "abacus"])
    assert len(time(places=["numpy", "cpu"])) == 2


class Nothing(nn.initializers.Initializer):
    name = "remedy_nothing"


class Ones(nn.initializers.Initializer):
    name = "remedy_ones"

    def weights(self, rng, shape, fan_in, fan_out):
        return np.ones(shape)


@place(
    "core/initializers.py Initializer.weights: {} must define weights(rng, shape, fan_in,",
    "Nothing",
    "define weights(rng, shape, fan_in, fan_out)",
)
def test_an_initializer_without_weights(refused):
    with refused:
        nn.Network([4, 3], initializer=Nothing())
    assert (nn.Network([4, 3], initializer=Ones()).weights[0] == 1).all()


@place(
    "core/layers/augmentation.py _Distortion.backward: {} has no backward; put it in front of every",
    "RandomAffine",
    "put it in front of every trained layer",
)
def test_gradients_through_a_distortion(refused):
    layer = nn.RandomAffine(translation=1)
    with refused:
        layer.backward((), None, IMAGES, None)
    fit(nn.Network([(2, 2, 1), layer, nn.Flatten(), 3]), nn.SGD(0.1), IMAGES)


@place(
    "core/layers/base.py image_shape: expected images (height, width, channels), got",
    "layers, entry 1",
    "let layers begin",
)
def test_images_that_are_flat(refused):
    with refused:
        nn.Network([4, nn.Conv2D(2, 2), nn.Flatten(), 3])
    nn.Network([(2, 2, 1), nn.Conv2D(2, 2), nn.Flatten(), 3]).predict(X)


@place(
    "core/layers/base.py windows: expected images of at least {} × {}, got {} × {};",
    "layers, entry ",
    "use a smaller window, fewer layers that shrink, or Conv2D(..., padding='same')",
)
def test_windows_larger_than_images(refused):
    with refused:
        nn.Network([(2, 2, 1), nn.Conv2D(2, 3), nn.Flatten(), 3])
    with refused:
        nn.Network([(2, 2, 1), nn.Conv2D(2, 3, padding="same"), nn.MaxPool2D(2), nn.MaxPool2D(2), nn.Flatten(), 3])
    nn.Network([(2, 2, 1), nn.Conv2D(2, 2), nn.Flatten(), 3])
    nn.Network([(2, 2, 1), nn.Conv2D(2, 3, padding="same"), nn.MaxPool2D(2), nn.Flatten(), 3])


@place(
    "core/layers/dense.py Dense.output_shape: expected inputs of one axis (features,), got {};",
    "layers, entry 1",
    "put a Flatten layer before",
)
def test_a_dense_layer_on_images(refused):
    with refused:
        nn.Network([(2, 2, 1), 3])
    nn.Network([(2, 2, 1), nn.Flatten(), 3]).predict(IMAGES)


class Blank(nn.losses.Loss):
    name = "remedy_blank"


class Flat(Blank):
    def __call__(self, a, y, *, xp):
        return xp.sum(a - y, axis=-1)


class Whole(Flat):
    def derivative(self, a, y, *, xp):
        return xp.ones_like(a)


@place("core/losses.py Loss.__call__: {} must define __call__(a, y, *, xp)", "Blank", "define __call__(a, y, *, xp)")
def test_a_loss_without_a_value(refused):
    with refused:
        nn.Network([4, 3], loss=Blank()).loss((X, Y))
    assert np.isfinite(nn.Network([4, 3], loss=Flat()).loss((X, Y)))


@place("core/losses.py Loss.derivative: {} must define derivative(a, y, *, xp)", "Flat", "define derivative(a, y")
def test_a_loss_without_a_derivative(refused):
    with refused:
        nn.Network([4, 3], loss=Flat()).backprop(X, Y)
    nn.Network([4, 3], loss=Whole()).backprop(X, Y)


@dataclass(frozen=True)
class Idle(nn.optimizers.Optimizer):
    learning_rate: float = 0.1


class Descent(Idle):
    def update(self, gradients, state, params, learning_rate):
        def moved(p, g):
            return p - learning_rate.reshape(learning_rate.shape + (1,) * (p.ndim - learning_rate.ndim)) * g

        return nn.optimizers.tree_map(moved, params, gradients), state


class Search(Idle):
    whole_batch = True


class Starting(Search):
    def start(self, x):
        return nn.LBFGS().start(x)


class Iterating(Starting):
    def iterate(self, state, function):
        return nn.LBFGS().iterate(state, function)


def search(optimizer):
    return nn.Network([4, 3], seed=0).fit((X, Y), epochs=1, batch_size=12, optimizer=optimizer)


@place(
    "core/optimizers/base.py Optimizer.update: {} must define update(gradients, state, params,",
    "Idle",
    "define update(gradients, state, params, learning_rate)",
)
def test_an_optimizer_without_an_update(refused):
    with refused:
        fit(nn.Network([4, 3]), Idle())
    fit(nn.Network([4, 3]), Descent())


@place(
    "core/optimizers/base.py Optimizer.start: {} must define start(x) if its whole_batch is True",
    "Search",
    "define start(x)",
)
def test_a_search_that_does_not_start(refused):
    with refused:
        search(Search())
    assert search(Iterating())


@place(
    "core/optimizers/base.py Optimizer.iterate: {} must define iterate(state, function) if its",
    "Starting",
    "define iterate(state, function)",
)
def test_a_search_that_does_not_iterate(refused):
    with refused:
        search(Starting())
    assert search(Iterating())


class Plain(nn.optimizers.Optimizer):
    learning_rate = 0.1
    update = Descent.update


@place(
    "core/optimizers/base.py Optimizer.member: optimizer: expected a dataclass with fields {}, so",
    "optimizer",
    "a dataclass with fields learning_rate",
)
def test_an_optimizer_that_members_cannot_have_for_themselves(refused):
    ensemble = nn.Ensemble([4, 3], 2, learning_rates=[0.1, 0.2])
    with refused:
        fit(ensemble, Plain())
    fit(ensemble, Descent())


@dataclass(frozen=True)
class Short(nn.schedules.Schedule):
    rate: float = 0.1

    def __call__(self, epoch, steps, records=()):
        return np.full(1, self.rate)


@dataclass(frozen=True)
class Full(Short):
    def __call__(self, epoch, steps, records=()):
        return np.full(steps, self.rate)


class Silent(nn.schedules.Schedule):
    pass


class Even(nn.schedules.Schedule):
    def __call__(self, epoch, steps, records=()):
        return np.full(steps, 0.1)


@place(
    "core/optimizers/base.py Optimizer.rates: learning_rate: expected a schedule that gives one",
    "learning_rate",
    "return an array of shape (steps,)",
)
def test_a_schedule_with_too_few_rates(refused):
    with refused:
        fit(nn.Network([4, 3]), nn.SGD(Short()))
    fit(nn.Network([4, 3]), nn.SGD(Full()))


@place(
    "core/optimizers/sgd.py SGD.__post_init__: nesterov: expected momentum above 0 with it, got",
    "nesterov",
    "pass momentum=0.9",
)
def test_nesterov_without_momentum(refused):
    with refused:
        nn.SGD(0.1, nesterov=True)
    fit(nn.Network([4, 3]), nn.SGD(0.1, nesterov=True, momentum=0.9))


@place("core/options.py integer: {}: expected {}, got {}{}", "units of a Dense layer", "convert it with int(...)")
def test_an_integer_of_another_type(refused):
    for three in (3.0, np.float32(3), np.array(3), Fraction(3)):
        with refused:
            nn.Dense(three)
        assert nn.Dense(int(three)).units == 3


@place("core/options.py integer: {}: expected {}, got {}", "batch_size", "a positive integer")
def test_an_integer_out_of_range(refused):
    net = nn.Network([4, 3])
    with refused:
        net.fit((X, Y), epochs=1, batch_size=0, optimizer=nn.SGD(0.1))
    net.fit((X, Y), epochs=1, batch_size=1, optimizer=nn.SGD(0.1))


@place(
    "core/options.py pair: {}: expected an integer, or a pair (height,",
    "of a MaxPool2D layer",
    "a pair (height, width)",
)
def test_a_pair_of_three(refused):
    with refused:
        nn.MaxPool2D((2, 2, 1))
    assert nn.MaxPool2D((2, 1)) != nn.MaxPool2D(2)


@place(
    "core/options.py number: {}: expected a number, got {}{}", "rate of a Dropout layer", "convert it with float(...)"
)
def test_a_number_of_another_type(refused):
    for half in (np.array(0.5), Fraction(1, 2), Decimal("0.5")):
        with refused:
            nn.Dropout(half)
        assert nn.Dropout(float(half)).rate == 0.5


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, 1e400, True, np.True_, "3", np.str_("3"), np.ones(2), 3j, None], ids=repr
)
def test_what_cannot_be_converted_is_not_told_to(value):
    """``int(nan)`` is an error as well."""
    with pytest.raises(TypeError, match="units of a Dense layer: expected a positive integer, got [^;]*$"):
        nn.Dense(value)


@place("core/options.py number: {}: expected a finite number {}, got {}", "rate of a Dropout layer", "below 1")
def test_a_number_out_of_range(refused):
    with refused:
        nn.Dropout(1.0)
    assert nn.Dropout(0.99).rate == 0.99


@place("core/options.py flag: {}: expected True or False, got {}", "nesterov", "True or False")
def test_a_flag(refused):
    with refused:
        nn.SGD(0.1, momentum=0.9, nesterov="no")
    assert nn.SGD(0.1, momentum=0.9, nesterov=False).nesterov is False


@place("core/options.py choice: {}: expected one of {}, got {}", "engine", "'eager'")
def test_a_word(refused):
    net = nn.Network([4, 3])
    with refused:
        net.SGD((X, Y), 1, 4, 0.1, engine="slow")
    net.SGD((X, Y), 1, 4, 0.1, engine="eager")


@place("core/options.py dtype: dtype: expected 'float32' or 'float64', got {};", "dtype", "use one of these names")
def test_a_dtype(refused):
    with refused:
        nn.Network([4, 3], dtype="float16")
    assert {nn.Network([4, 3], dtype=dtype).dtype for dtype in ("float32", "float64")} == {"float32", "float64"}
    assert options.dtype(np.float64) == "float64"


@place("core/primitives.py replace: name: expected a primitive ({}), got {}", "name", "a primitive (affine")
def test_a_replacement_for_no_primitive(refused):
    xp = object()
    with refused:
        primitives.replace("affin", xp, max)
    primitives.replace("affine", xp, max)
    assert primitives._replacements["affine"].pop(xp) is max


@place("core/registry.py Table._enter: {} {} is registered already; choose another name", "activation", "another name")
def test_a_name_that_is_taken(refused):
    class Relu(Square):
        name = "relu"

    with refused:
        nn.activations.register("relu", Relu())
    Relu.name = "remedy_relu"
    nn.activations.register("remedy_relu", Relu())


@place(
    "core/registry.py Registry.register: name of a new {}: expected a non-empty string, got",
    "name of a new activation",
    "a non-empty string",
)
def test_an_empty_name(refused):
    with refused:
        nn.activations.register("", Square())
    nn.activations.register("remedy_square", Square())


@place(
    "core/registry.py Registry.register: {} {}: expected an instance of {}, got {}",
    "activation 'remedy_square'",
    "an instance of nn_any.activations.Activation",
)
def test_a_class_in_place_of_its_instance(refused):
    with refused:
        nn.activations.register("remedy_square", Square)
    nn.activations.register("remedy_square", Square())


@place(
    "core/registry.py Registry.register: {} {}: expected an entry with that name, got name",
    "activation 'squared'",
    "use the same twice",
)
def test_two_names_of_an_entry(refused):
    with refused:
        nn.activations.register("squared", Square())
    nn.activations.register("remedy_square", Square())


@place(
    "core/registry.py Registry.get: {}: expected one of {}, got {}; register your own",
    "loss",
    "register your own with nn_any.losses.register(name, ...)",
)
def test_an_unknown_name(refused):
    with refused:
        nn.Network([4, 3], loss="remedy_blank")
    nn.losses.register("remedy_blank", Whole())
    nn.Network([4, 3], loss="remedy_blank").loss((X, Y))


@place(
    "core/registry.py Registry.get: {}: expected a name ({}) or an instance of {}, got",
    "activation",
    "an instance of nn_any.activations.Activation",
)
def test_neither_a_name_nor_an_instance(refused):
    with refused:
        with_activation(np.tanh)
    with_activation(Square()).predict(X)


class Cube(nn.activations.Activation):
    name = "remedy_cube"

    def __call__(self, z, *, xp):
        return z * z * z


@place(
    "core/registry.py Registry.to_config: {}: {} is not registered; {}call {}.register({},",
    "activation",
    "call nn_any.activations.register('remedy_cube', ...) first",
)
def test_a_model_file_with_an_activation_of_your_own(refused, tmp_path):
    net, path = with_activation(Cube()), tmp_path / "model"
    with refused:
        net.save(path)
    nn.activations.register("remedy_cube", Cube())
    net.save(path)
    np.testing.assert_array_equal(nn.Network.load(path).feedforward(X), net.feedforward(X))


@pytest.mark.parametrize("taken", ["relu", ""])
def test_a_model_file_with_an_activation_that_has_no_name_of_its_own(taken, tmp_path):
    class Mine(Square):
        name = taken

    net = with_activation(Mine())
    with pytest.raises(
        ValueError, match=r"give it a name of its own, and call nn_any.activations.register\(name, ...\)"
    ):
        net.save(tmp_path / "model")
    Mine.name = f"remedy_mine_{taken}"
    nn.activations.register(Mine.name, Mine())
    net.save(tmp_path / "model")
    np.testing.assert_array_equal(nn.Network.load(tmp_path / "model").feedforward(X), net.feedforward(X))


class Loose(nn.layers.Layer):
    pass


@dataclass(frozen=True)
class Passing(nn.layers.Layer):
    pass


@place(
    "core/registry.py ClassRegistry.register: {}_class: expected a frozen dataclass derived from",
    "layer_class",
    "a frozen dataclass derived from nn_any.layers.Layer",
)
def test_a_layer_that_is_no_dataclass(refused):
    with refused:
        nn.layers.register(Loose)
    nn.layers.register(Passing)


@dataclass(frozen=True)
class Own(nn.layers.Layer):
    pass


@place(
    "core/registry.py ClassRegistry.to_config: {} {}: expected one of a registered class; call",
    "layer Own()",
    "call nn_any.layers.register(Own) first",
)
def test_a_model_file_with_a_layer_of_your_own(refused, tmp_path):
    net, path = nn.Network([4, Own(), 3]), tmp_path / "model"
    with refused:
        net.save(path)
    nn.layers.register(Own)
    net.save(path)
    nn.Network.load(path)


@place(
    "core/registry.py ClassRegistry.from_config: {}: expected one of {}, got {}; if it is your own,",
    "layer",
    "if it is your own, call nn_any.layers.register first",
)
def test_a_model_file_with_an_unknown_layer(refused, tmp_path):
    @dataclass(frozen=True)
    class Foreign(nn.layers.Layer):
        pass

    nn.layers.register(Foreign)
    nn.Network([4, Foreign(), 3]).save(tmp_path / "model")
    del layers.base.registry._entries["Foreign"]  # as in another process
    with refused:
        nn.Network.load(tmp_path / "model")
    nn.layers.register(Foreign)
    nn.Network.load(tmp_path / "model")


@place(
    "core/schedules/base.py Schedule.__call__: {} must define __call__(epoch, steps, records)",
    "Silent",
    "define __call__(epoch, steps, records)",
)
def test_a_schedule_without_rates(refused):
    with refused:
        fit(nn.Network([4, 3]), nn.SGD(Silent()))
    fit(nn.Network([4, 3]), nn.SGD(Even()))


@place(
    "core/schedules/base.py Schedule.with_rate: {} must define with_rate(rate), or be a dataclass",
    "Even",
    "be a dataclass with a field rate: float",
)
def test_a_schedule_that_members_cannot_have_for_themselves(refused):
    ensemble = nn.Ensemble([4, 3], 2, learning_rates=[0.1, 0.2])
    with refused:
        fit(ensemble, nn.SGD(Even()))
    fit(ensemble, nn.SGD(Full()))


@place(
    "core/schedules/base.py as_schedule: {}: expected a positive number, got {}; pass one",
    "learning_rate",
    "pass one such as 0.1, or a Schedule",
)
def test_a_rate_that_is_no_number(refused):
    with refused:
        nn.SGD("0.1")
    assert nn.SGD(0.1) == nn.SGD(nn.schedules.Constant(0.1)) or nn.SGD(nn.schedules.Constant(0.1))


@place(
    "core/schedules/base.py as_schedule: {}: expected a positive, finite number, got {};",
    "learning_rate",
    "pass one such as 0.1",
)
def test_a_rate_out_of_range(refused):
    with refused:
        nn.SGD(-0.1)
    fit(nn.Network([4, 3]), nn.SGD(0.1))


@place(
    "core/schedules/monitoring.py _name: {}: expected the name of a recorded value, got {};",
    "monitor",
    "pass a string",
)
def test_a_monitor_that_is_no_name(refused):
    with refused:
        nn.schedules.ReduceOnPlateau(0.1, monitor=["loss"])
    fit(nn.Network([4, 3]), nn.SGD(nn.schedules.ReduceOnPlateau(0.1, monitor="loss")))


@place(
    "core/schedules/monitoring.py _check_recorded: monitor: expected one of the recorded {}, got {};",
    "monitor",
    "choose one of these, or pass the data that it is taken from to fit",
)
def test_a_monitor_that_is_not_recorded(refused):
    net, rate = nn.Network([4, 3]), nn.schedules.ReduceOnPlateau(0.1, monitor="validation_loss")
    with refused:
        fit(net, nn.SGD(rate))
    fit(net, nn.SGD(nn.schedules.ReduceOnPlateau(0.1, monitor="loss")))
    net.fit((X, Y), epochs=2, batch_size=4, optimizer=nn.SGD(rate), validation_data=(X, Y))


@dataclass(frozen=True)
class Fixed(nn.layers.Layer):
    def init(self, rng, input_shape):
        return (np.ones(input_shape),)


@dataclass(frozen=True)
class Freezable(Fixed):
    trainable: bool = True


@place(
    "core/specification.py Specification.with_trainable: places: {} has no field trainable: bool = True;",
    "Fixed",
    "no field trainable: bool = True; add one",
)
def test_a_layer_that_cannot_be_frozen(refused):
    with refused:
        nn.Network([4, Fixed(), 3]).freeze(0)
    net = nn.Network([4, Freezable(), 3])
    net.freeze(0)
    assert not net.layers[0].trainable


@place(
    "core/specification.py build: layers: expected the input size and at least one", "layers", "such as [784, 30, 10]"
)
def test_no_layers(refused):
    with refused:
        nn.Network([784])
    nn.Network([784, 30, 10])


@place("core/specification.py build: layers, entry {}, {}: {}", "layers, entry 2, Dense(", "put a Flatten layer before")
def test_a_layer_that_does_not_fit(refused):
    with refused:
        nn.Network([(2, 2, 1), nn.MaxPool2D(2), 3])
    nn.Network([(2, 2, 1), nn.MaxPool2D(2), nn.Flatten(), 3])


@place(
    "core/specification.py build: layers, entry {}: expected a hashable layer ({});",
    "layers, entry 1",
    "make it a frozen dataclass",
)
def test_a_layer_that_cannot_be_hashed(refused):
    @dataclass
    class Mutable(nn.layers.Layer):
        pass

    with refused:
        nn.Network([4, Mutable(), 3])
    nn.Network([4, Passing(), 3]).predict(X)


@place(
    "core/specification.py build: layers, entry {}, {}: expected at the front, got",
    "layers, entry 2, RandomAffine",
    "put what distorts the inputs first",
)
def test_a_distortion_behind_a_layer(refused):
    with refused:
        nn.Network([(2, 2, 1), nn.MaxPool2D(1), nn.RandomAffine(rotation=10), nn.Flatten(), 3])
    nn.Network([(2, 2, 1), nn.RandomAffine(rotation=10), nn.MaxPool2D(1), nn.Flatten(), 3])


@place(
    "core/specification.py build: layers: expected a last layer with outputs of one",
    "layers",
    "end with Flatten and Dense",
)
def test_images_for_outputs(refused):
    with refused:
        nn.Network([(2, 2, 1), nn.MaxPool2D(1)])
    nn.Network([(2, 2, 1), nn.MaxPool2D(1), nn.Flatten(), nn.Dense(3)])


@place(
    "core/specification.py _check_outputs: loss: {} needs outputs with {}, got a last layer",
    "loss",
    "as the last layer, or another loss",
)
def test_outputs_that_do_not_suit_the_loss(refused):
    refusing = [name for name in nn.losses.names() if "real" not in nn.losses.get(name).ranges]
    assert {"cross_entropy", "log_likelihood"} <= {*refusing}
    for name in refusing:
        with refused:
            nn.Network([4, nn.Dense(3, activation="linear")], loss=name)
        nn.Network([4, nn.Dense(3, activation=nn.losses.get(name).suits)], loss=name)  # as the message names it
    nn.Network([4, nn.Dense(3, activation="linear")], loss="quadratic")


@place(
    "core/specification.py _check_outputs: layers: expected two or more outputs for {}, which",
    "layers",
    "use one output with 'sigmoid' and loss='cross_entropy', or two outputs",
)
def test_softmax_of_a_single_output(refused):
    with refused:
        nn.Network([4, nn.Dense(1, activation="softmax")], loss="log_likelihood")
    net = nn.Network([4, nn.Dense(1, activation="sigmoid")], loss="cross_entropy")
    net.SGD((X, Y % 2), 1, 4, 0.1)
    nn.Network([4, nn.Dense(2, activation="softmax")], loss="log_likelihood").SGD((X, Y % 2), 1, 4, 0.1)


@place(
    "core/specification.py _input_shape: layers, entry 0: expected a positive number of",
    "layers, entry 0",
    "a positive number of inputs, or a shape of such",
)
def test_a_size_of_inputs(refused):
    with refused:
        nn.Network([0, 3])
    nn.Network([1, 3])
    nn.Network([(2, 2, 1), nn.Flatten(), 3])


@place(
    "core/specification.py _layer: layers, entry {}: expected a number of units or a",
    "layers, entry 1",
    "a number of units or a nn_any.layers.Layer",
)
def test_an_entry_that_is_no_layer(refused):
    with refused:
        nn.Network([4, "dense", 3])
    nn.Network([4, nn.Dense(5), 3])
    with pytest.raises(TypeError, match=r"make one with Flatten\(...\)"):
        nn.Network([(2, 2), nn.Flatten, 3])
    nn.Network([(2, 2), nn.Flatten(), 3])


@place("core/specification.py _layer: layers, entry {}: expected a positive number of", "layers, entry 1", "positive")
def test_a_layer_of_no_units(refused):
    with refused:
        nn.Network([4, 0, 3])
    nn.Network([4, 1, 3])


@dataclass(frozen=True)
class Measuring(nn.layers.Layer):
    measures = "inputs"

    def init_state(self, input_shape):
        return np.zeros(()), np.zeros(())


@dataclass(frozen=True)
class Asked(Measuring):
    def is_measured(self, state):
        return state[1]


@dataclass(frozen=True)
class Measured(Asked):
    def measure(self, blocks, *, xp):
        largest = max(float(xp.max(x)) for x, _ in blocks)
        return xp.asarray(largest, dtype=xp.float32), xp.ones((), dtype=xp.float32)


@place(
    "core/layers/base.py Layer.is_measured: {} measures {} and must define is_measured(state)",
    "Measuring",
    "define is_measured(state)",
)
def test_a_measuring_layer_that_cannot_be_asked(refused):
    with refused:
        fit(nn.Network([4, Measuring(), 3]), nn.SGD(0.1))
    fit(nn.Network([4, Measured(), 3]), nn.SGD(0.1))


@place(
    "core/layers/base.py Layer.measure: {} measures {} and must define measure(blocks, xp)",
    "Asked",
    "define measure(blocks, xp)",
)
def test_a_measuring_layer_that_does_not_measure(refused):
    with refused:
        fit(nn.Network([4, Asked(), 3]), nn.SGD(0.1))
    net = nn.Network([4, Measured(), 3])
    fit(net, nn.SGD(0.1))
    assert float(net.state.layer_state[0][0]) == X.max()


@dataclass(frozen=True)
class Shift(Fixed):
    decayed = (False,)

    def forward(self, params, state, x, context):
        return x + params[0], state, None


@dataclass(frozen=True)
class Taught(Shift):
    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta, axis=-2),)


@place(
    "core/layers/base.py Layer.gradients: {} must define gradients(params, saved, delta,",
    "Shift",
    "define gradients(params, saved, delta, context)",
)
def test_a_layer_without_gradients(refused):
    with refused:
        fit(nn.Network([4, Shift(), 3]), nn.SGD(0.1))
    net = nn.Network([4, Taught(), 3])
    fit(net, nn.SGD(0.1))
    assert (net.weights[0] != 1).all()


@dataclass(frozen=True)
class Nameless(Taught):
    parameter_names = ("offset", "scale")


@dataclass(frozen=True)
class Offset(Taught):
    parameter_names = ("offset",)


@place(
    "core/layers/base.py name_parameters: parameter_names: expected {} names, one a",
    "parameter_names",
    "expected 1 names, one a parameter",
)
def test_a_layer_with_more_names_than_parameters(refused):
    with refused:
        nn.Network([4, Nameless(), 3])
    assert "layers.0.offset" in nn.Network([4, Offset(), 3]).parameters


class Followed(nn.optimizers.Optimizer):
    def __init__(self, learning_rate):
        self.learning_rate = learning_rate

    update = Descent.update


@place(
    "core/optimizers/base.py Optimizer.begin: optimizer: expected a dataclass with a field",
    "optimizer",
    "expected a dataclass with a field learning_rate, got",
)
def test_an_optimizer_whose_schedule_begins(refused):
    def told(targets, outputs):
        return 0.5

    def plateau(**options):
        return nn.schedules.ReduceOnPlateau(0.1, monitor="validation_told", **options)

    told.higher_is_better = True
    with refused:
        follow(metric=told, optimizer=Followed(plateau()))
    follow(metric=told, optimizer=Descent(plateau()))
    follow(metric=told, optimizer=Followed(plateau(mode="max")))  # "or say the mode of its schedule"


@place(
    "core/options.py check_held: {} of {}: expected a number that {} can hold, got",
    "epsilon of Adam",
    "use a larger one, or a network with dtype='float64'",
)
def test_a_setting_beyond_float32(refused):
    tiny = nn.Adam(epsilon=1e-60)
    with refused:
        fit(nn.Network([4, 3]), tiny)
    fit(nn.Network([4, 3]), nn.Adam(epsilon=1e-30))
    fit(nn.Network([4, 3], dtype="float64"), tiny)


def kappa(targets, outputs):
    return 0.5


def follow(*, metric=kappa, **options):
    return nn.Network([4, 3], seed=0).fit(
        (X, Y),
        **{"epochs": 2, "batch_size": 4, "optimizer": nn.SGD(0.1), **options},
        validation_data=(X, Y),
        metrics=[metric],
    )


@place(
    "core/schedules/directions.py higher_is_better: {}: expected a column of which it is known whether",
    "monitor",
    "say mode='max' or mode='min', or give the metric's function an attribute higher_is_better = True or False",
)
def test_a_measure_of_which_nobody_knows_what_is_better(refused):
    def told(targets, outputs):
        return 0.5

    with refused:
        follow(callbacks=[nn.EarlyStopping("validation_kappa")])
    follow(callbacks=[nn.EarlyStopping("validation_kappa", mode="max")])
    told.higher_is_better = True
    follow(metric=told, callbacks=[nn.EarlyStopping("validation_told")])


@place(
    "core/schedules/directions.py monitored_value: {}: expected a column with one number an epoch,",
    "monitor",
    "choose another, such as 'loss'",
)
def test_a_measure_that_is_no_number(refused):
    matrix = nn.metrics.confusion_matrix
    with refused:
        follow(metric=matrix, callbacks=[nn.EarlyStopping("validation_confusion_matrix", mode="max")])
    follow(metric=matrix, callbacks=[nn.EarlyStopping("loss")])


@place(
    "core/specification.py build: layers, entry {}, {}: expected at the front, where",
    "Standardize(",
    "put it in front of every layer but augmentation, or use nn_any.BatchNorm() here",
)
def test_inputs_that_are_standardized_late(refused):
    tilt, flat = nn.RandomAffine(rotation=10), nn.Flatten()
    with refused:
        nn.Network([(2, 2, 1), tilt, flat, nn.Standardize(), 3])
    nn.Network([(2, 2, 1), tilt, nn.Standardize(), flat, 3])
    nn.Network([(2, 2, 1), tilt, flat, nn.BatchNorm(), 3])


@place(
    "core/specification.py build: layers, entry {}, {}: expected at the end, where",
    "Standardize(invert=True)",
    "put it last",
)
def test_targets_that_are_standardized_early(refused):
    back = nn.Standardize(invert=True)
    with refused:
        nn.Network([4, back, nn.Dense(1, activation="linear")], loss="mean_squared_error")
    nn.Network([4, nn.Dense(1, activation="linear"), back], loss="mean_squared_error")


@pytest.mark.parametrize("layer", [nn.Standardize(), nn.Standardize(invert=True)], ids=["inputs", "targets"])
def test_two_layers_that_standardize_the_same(layer):
    with pytest.raises(ValueError, match=r"leave one of them out"):
        nn.Network([4, layer, layer])
    nn.Network([4, layer])


@dataclass(frozen=True)
class Summing(nn.layers.Layer):
    def forward(self, params, state, x, context):
        return context.xp.sum(x, axis=-1), state, x


@place(
    "core/trial.py _expect: {}: expected shape {} from {} for {} examples, got",
    "layers, entry 1, Summing()",
    "expected shape (2, 4) from forward",
)
def test_a_layer_with_outputs_of_another_shape(refused):
    @dataclass(frozen=True)
    class Repeating(nn.layers.Layer):
        def forward(self, params, state, x, context):
            return 0 * x + context.xp.sum(x, axis=-1, keepdims=True), state, x

    with refused:
        nn.Network([4, Summing(), 3])
    nn.Network([4, Repeating(), 3]).predict(X)


@dataclass(frozen=True)
class Transposed(Taught):
    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta, axis=-1),)


@places(
    {
        "core/trial.py _expect_same: {}: expected arrays of shapes {} from {}, like": None,
        "core/trial.py try_shapes: {}": None,
    },
    "layers, entry 1, Transposed()",
    "expected arrays of shapes [(4,)] from gradients",
)
def test_a_layer_with_gradients_of_another_shape(refused, value):
    with refused:
        nn.Network([4, Transposed(), 3])
    fit(nn.Network([4, Taught(), 3]), nn.SGD(0.1))
