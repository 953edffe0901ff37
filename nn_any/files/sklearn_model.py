"""Networks of scikit-learn as networks of this package, and the other way.

scikit-learn has one kind of network, a stack of dense layers with one activation, in `MLPClassifier` and
`MLPRegressor`; its weights are (inputs, units), the other way round than here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nn_any.core import layers
from nn_any.core.activations import LINEAR, Activation
from nn_any.core.assembly import Assembly, measured
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.layers import Dense
from nn_any.core.schema import Schema
from nn_any.core.state import HostSnapshot

_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""What scikit-learn calls the activations of hidden layers, and what they are called here."""

_OUTPUTS = {
    "softmax": ("softmax", "log_likelihood"),
    "logistic": ("sigmoid", "cross_entropy"),
    "identity": ("linear", "mean_squared_error"),
    "exp": ("exponential", "poisson"),
}
"""What scikit-learn calls the activations of outputs, what they are called here, and the loss."""


def read_sklearn(estimator: Any, seed: int | None = None) -> HostSnapshot:
    """The network that a fitted estimator is; see `nn_any.Network.from_sklearn`."""
    steps = list(_steps(estimator))
    network = next(step for step, _ in steps if hasattr(step, "coefs_"))
    assembly = Assembly((network.coefs_[0].shape[0],))
    activation, loss = _OUTPUTS[network.out_activation_]
    with prefix_errors("estimator"):
        for step, invert in steps:
            if step is not network:
                size = assembly.shape
                mean = step.mean_ if step.with_mean else np.zeros(size)
                deviation = step.scale_ if step.with_std else np.ones(size)
                assembly.add(layers.Standardize(invert=invert), state=measured(mean, deviation))
                continue
            last = len(network.coefs_) - 1
            for i, (weights, biases) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
                name = activation if i == last else _ACTIVATIONS[network.activation]
                assembly.add(Dense(len(biases), name), (weights.T, biases))
        several = loss == "cross_entropy" and network.n_outputs_ > 1
        names = getattr(estimator, "feature_names_in_", None)
        schema = Schema(
            class_names=None if several or not hasattr(network, "classes_") else network.classes_.tolist(),
            feature_names=None if names is None else names.tolist(),
        )
        dtype = network.coefs_[0].dtype.name
        task = "multilabel" if several else None
        return assembly.finish(loss=loss, task=task, named=True, dtype=dtype, seed=seed, schema=schema)


def _steps(estimator: Any) -> Iterator[tuple[Any, bool]]:
    """The fitted steps of an estimator, each with whether it is what goes back to the units of the targets."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.exceptions import NotFittedError
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    kind = type(estimator).__name__
    try:
        if isinstance(estimator, MLPClassifier | MLPRegressor | TransformedTargetRegressor):
            check_is_fitted(estimator)
        elif isinstance(estimator, Pipeline):
            check_is_fitted(estimator.steps[-1][1])
    except NotFittedError as error:
        raise InvalidValueError(
            f"estimator: expected a fitted one, got {kind} before fit; call its fit first"
        ) from error
    match estimator:
        case MLPClassifier() | MLPRegressor():
            yield estimator, False
        case TransformedTargetRegressor() if isinstance(estimator.transformer_, StandardScaler):
            yield from _steps(estimator.regressor_)
            yield estimator.transformer_, True
        case Pipeline() if all(_is_scaling(step) for _, step in estimator.steps[:-1]):
            yield from ((step, False) for _, step in estimator.steps[:-1] if isinstance(step, StandardScaler))
            yield from _steps(estimator.steps[-1][1])
        case _:
            raise InvalidTypeError(
                "estimator: expected MLPClassifier or MLPRegressor, perhaps behind StandardScaler in a Pipeline, or in "
                f"a TransformedTargetRegressor with StandardScaler, got {kind}; pass the fitted MLPClassifier or "
                "MLPRegressor in it, and prepare the data yourself"
            )


def _is_scaling(step: Any) -> bool:
    from sklearn.preprocessing import StandardScaler

    return step is None or step == "passthrough" or isinstance(step, StandardScaler)


@dataclass
class _Parts:
    """What of a network scikit-learn has a place for.

    Attributes
    ----------
    before, behind : pair of arrays, or None
        Mean and deviation of the inputs, and of the targets.
    """

    weights: list[np.ndarray] = field(default_factory=list)
    biases: list[np.ndarray] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    before: tuple[np.ndarray, np.ndarray] | None = None
    behind: tuple[np.ndarray, np.ndarray] | None = None


def write_sklearn(host: HostSnapshot) -> Any:
    """The fitted estimator that a network is; see `nn_any.Network.to_sklearn`."""
    spec, parts = host.specification, _parts(host)
    hidden = {activation.name for activation in parts.activations[:-1]}
    own = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    if len(hidden) > 1 or not hidden <= own.keys():
        raise InvalidValueError(
            f"to_sklearn: expected one activation of {', '.join(own)} in all hidden layers, got "
            f"{', '.join(sorted(hidden))}; use to_onnx, or train a network with activation='relu'"
        )
    activation = own[hidden.pop()] if hidden else "relu"
    output = parts.activations[-1].name
    if spec.is_regression:
        network = _regressor(spec.loss.name, output, activation, parts)
    else:
        network = _classifier(host, output, activation, parts)
    network.n_iter_, network.t_, network.loss_curve_, network.loss_ = host.progress.epoch, 0, [], np.nan
    network.best_loss_ = np.inf
    vars(network).pop("_optimizer", None)  # it has moments of what the network was made with
    return _with_scalers(network, parts, spec.schema.feature_names)


def _parts(host: HostSnapshot) -> _Parts:
    """The dense layers of a network and its standardisations."""
    made = _Parts()
    places = zip(host.specification.layers, host.params, host.layer_state, strict=True)
    for i, (layer, params, state) in enumerate(places):
        match layer:
            case layers.Dense():
                weights, biases = layer.unpack(params)
                made.weights.append(weights)
                made.biases.append(biases)
                made.activations.append(layer.activation)
            case layers.Activation() if made.activations and made.activations[-1] == LINEAR:
                made.activations[-1] = layer.activation
            case layers.Standardize():
                mean, deviation = (np.asarray(values, "float64").reshape(-1) for values in state[:2])
                setattr(made, "behind" if layer.invert else "before", (mean, deviation))
            case layers.Flatten() | layers.Dropout() | layers.RandomAffine() | layers.ElasticDistortion():
                pass  # rows are flat there, and prediction needs none of the others
            case _:
                raise InvalidTypeError(
                    f"to_sklearn: expected Dense layers, got {layer!r} in place {i}, which scikit-learn does not have; "
                    "use to_onnx, or train a network of Dense layers"
                )
    return made


def _regressor(loss: str, output: str, activation: str, parts: _Parts) -> Any:
    """A fitted `MLPRegressor`."""
    from sklearn.neural_network import MLPRegressor

    settings: dict[str, Any] = {
        "activation": activation,
        "hidden_layer_sizes": [len(biases) for biases in parts.biases[:-1]],
    }
    if output == "exponential":
        if "loss" not in MLPRegressor().get_params():
            raise InvalidValueError(
                "to_sklearn: expected linear outputs, got exponential ones, which this scikit-learn does not have; use "
                "to_onnx, or scikit-learn 1.7 or later"
            )
        settings["loss"] = "poisson"
    elif output != "linear":
        raise InvalidValueError(
            f"to_sklearn: expected linear or exponential outputs for numbers, got {output!r}; use to_onnx, or train a "
            "network with loss='mean_squared_error'"
        )
    x, y = _rows(parts), np.zeros((1, len(parts.biases[-1])))
    made = MLPRegressor(**settings, random_state=0).partial_fit(x, y.ravel() if y.size == 1 else y)
    return _with_weights(made, parts.weights, parts.biases)


def _classifier(host: HostSnapshot, output: str, activation: str, parts: _Parts) -> Any:
    """A fitted `MLPClassifier`; its classes are sorted, and two of them have one output."""
    from sklearn.neural_network import MLPClassifier

    spec = host.specification
    single, several = spec.outputs == 1, spec.is_multilabel and spec.outputs > 1
    if output != ("sigmoid" if single or several else "softmax"):
        raise InvalidValueError(
            f"to_sklearn: expected softmax outputs for classes, one sigmoid for two of them, or task='multilabel', got "
            f"{spec.outputs} outputs with activation {output!r}; use to_onnx, or train a network with "
            "loss='log_likelihood'"
        )
    settings: dict[str, Any] = {
        "activation": activation,
        "hidden_layer_sizes": [len(biases) for biases in parts.biases[:-1]],
    }
    made, x = MLPClassifier(**settings, random_state=0), _rows(parts)
    if several:
        made.partial_fit(x, np.zeros((1, spec.outputs), "int64"), classes=np.arange(spec.outputs))
        return _with_weights(made, parts.weights, parts.biases)
    names = spec.schema.class_names or tuple(range(spec.classes))
    classes = np.asarray(names)
    if classes.tolist() != list(names) or np.any(classes != classes):  # text in place of numbers
        raise InvalidValueError(
            f"to_sklearn: expected names of classes that are all text or all numbers, got {names!r}; assign net.schema "
            "with other class_names"
        )
    order = np.argsort(classes)
    weights, biases = parts.weights[-1], parts.biases[-1]
    if not single:
        weights, biases = weights[order], biases[order]
        if len(order) == 2:  # softmax of two is the sigmoid of their difference
            weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
    elif order[0] == 1:
        weights, biases = -weights, -biases
    made.partial_fit(x, classes[:1], classes=classes[order])
    return _with_weights(made, [*parts.weights[:-1], weights], [*parts.biases[:-1], biases])


def _rows(parts: _Parts) -> np.ndarray:
    """One row of inputs, on which an estimator is made."""
    return np.zeros((1, parts.weights[0].shape[1]), parts.weights[0].dtype)


def _with_weights(network: Any, weights: list[np.ndarray], biases: list[np.ndarray]) -> Any:
    """The estimator with these weights, copied, and nothing left of what it was made with."""
    network.coefs_ = [np.array(w.T, order="C") for w in weights]
    network.intercepts_ = [np.array(b) for b in biases]
    return network.set_params(random_state=None)


def _with_scalers(network: Any, parts: _Parts, feature_names: tuple[str, ...] | None) -> Any:
    """The estimator in what standardises its inputs and targets, and the names of its features on all of them."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.dummy import DummyRegressor
    from sklearn.pipeline import make_pipeline

    made, named = network, [network]
    if parts.before is not None:
        scaler = _scaler(*parts.before)
        made, named = make_pipeline(scaler, network), [scaler]
    if parts.behind is not None:
        from sklearn.base import clone

        scaler, targets = _scaler(*parts.behind), np.zeros((1, len(parts.behind[0])))
        outer = TransformedTargetRegressor(DummyRegressor(), transformer=clone(scaler))
        outer.fit(_rows(parts), targets.ravel() if targets.size == 1 else targets)
        outer.regressor, outer.regressor_, outer.transformer_ = clone(made), made, scaler
        made, named = outer, [*named, outer]
    if feature_names is not None:
        for each in named:
            each.feature_names_in_ = np.asarray(feature_names, dtype=object)
    return made


def _scaler(mean: np.ndarray, deviation: np.ndarray) -> Any:
    """A fitted `StandardScaler`."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(mean[None, :])
    scaler.mean_, scaler.scale_, scaler.var_ = mean, deviation, deviation**2
    return scaler
