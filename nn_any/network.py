"""Network: one neural network. It checks what it is given, calls functions of its snapshot, and keeps the result."""

from os import PathLike
from typing import Any, Self

from nn_any import evaluation
from nn_any import metrics as measures
from nn_any.backends import Device, select_device, to_numpy
from nn_any.core import metrics as answers
from nn_any.core import specification
from nn_any.core.losses import Loss
from nn_any.core.state import HostSnapshot, Snapshot
from nn_any.core.summary import summary_table
from nn_any.core.typing import Array
from nn_any.datasets.network_input import own_inputs
from nn_any.files import host_snapshot, load_host_snapshot
from nn_any.model import FLOAT32, NORMAL, QUADRATIC, SIGMOID, Model, refuse_beside_snapshot
from nn_any.training.states import initial_snapshot, on_device, placed_snapshot


class Network(Model):
    """A neural network on a device of any array library.

    Parameters
    ----------
    layers : sequence, or Snapshot
        The input shape first (a number of features or a tuple), then layers; a bare number is a `Dense` layer that
        names no activation. ``[784, 30, 10]`` is the book's first network.
        A `Snapshot`, such as ``net.snapshot``, is a network as it was; only `device` goes with it.
    activation : str or Activation
        The default of layers that name none, but for the last one if the loss says what suits it: ``"sigmoid"``,
        ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"gelu"``, ``"silu"``, ``"softplus"``, ``"exponential"``,
        ``"softmax"``, ``"linear"``, or your own.
    loss : str or Loss
        For classes ``"quadratic"``, ``"cross_entropy"`` (sigmoid outputs) or ``"log_likelihood"`` (softmax outputs);
        for numbers ``"mean_squared_error"``, ``"mean_absolute_error"``, ``"huber"`` (linear outputs) or ``"poisson"``
        (exponential outputs); or your own. A last layer that names no activation gets the one in brackets.
    initializer : str or Initializer
        The default of layers that name none: ``"normal"``, ``"scaled_normal"``, ``"glorot_uniform"``, ``"he_normal"``
        and their kin, ``"lecun_normal"``, ``"orthogonal"``, ``"zeros"``, or your own.
    task : {"classification", "multilabel", "regression"}, optional
        What the outputs are: one class for each example, an answer of yes or no each, or numbers. By default the loss
        decides between the first and the last, or for the quadratic loss the last activation: linear outputs are
        numbers.
    device : str or Device, optional
        As `select_device` has it; by default ``NN_ANY_DEVICE``, else a CUDA GPU that works, else the CPU.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        The same seed is the same run on every device: initial weights, batch order, draws. By default a new one, which
        ``net.seed`` tells.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of these; the message names it.
    DeviceNotAvailableError
        If the device is not there.

    Notes
    -----
    Wherever data are taken, they may be a `Dataset`, a tuple ``(x, y)`` of arrays, or an iterable of
    ``(x, y)`` pairs of columns; x is (n, features) or (n, *input_shape), y is integer labels (n,) or targets
    (n, outputs).

    References
    ----------
    M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015.

    Examples
    --------
    >>> import nn_any as nn
    >>> training, validation, test = nn.datasets.load_digits("cpu")
    >>> net = nn.Network([64, 30, 10], initializer="scaled_normal", device="cpu", seed=0)
    >>> history = net.SGD(training, epochs=10, mini_batch_size=10, eta=3.0)
    >>> net.accuracy(test) > 0.9
    True
    """

    def __init__(
        self,
        layers: Any,
        *,
        activation: Any = SIGMOID,
        loss: str | Loss = QUADRATIC,
        initializer: Any = NORMAL,
        task: str | None = None,
        device: str | Device | None = None,
        dtype: Any = FLOAT32,
        seed: int | None = None,
    ) -> None:
        if isinstance(layers, Snapshot):
            given = {"activation": activation, "loss": loss, "initializer": initializer, "dtype": dtype, "seed": seed}
            refuse_beside_snapshot(**given, task=task)
            place = select_device(device)
            super().__init__(on_device("layers", layers, place, ensemble=False), place)
            return
        built = specification.build(layers, activation, initializer, loss, dtype, seed, task=task)
        device = select_device(device)
        super().__init__(initial_snapshot(built, device), device)

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | Device | None = None) -> Self:
        """The network in a model file, whichever device wrote it.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ModelFileError
            If it is damaged, of another kind, from a newer version, or does not fit together; it is a ValueError.
        """
        return cls._placed(load_host_snapshot(path, ensemble=False), device)

    @classmethod
    def from_sklearn(cls, estimator: Any, *, device: str | Device | None = None, seed: int | None = None) -> Self:
        """The network that a fitted estimator of scikit-learn is; its predictions are the same to rounding.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Or a `Pipeline` of `StandardScaler` and one of them, which begins with a `Standardize` layer here; or a
            `TransformedTargetRegressor` with `StandardScaler`, which ends with one.
        device : str or Device, optional
        seed : int, optional
            The seed of further training; by default a new one.

        Returns
        -------
        Network
            With the dtype of the estimator's weights, the names of its classes and features, and the loss that it was
            trained with; classes that exclude each other or not (``task="multilabel"``) stay so.

        Raises
        ------
        TypeError, ValueError
            If it is another estimator, or one that is not fitted.

        See Also
        --------
        Network.to_sklearn : the way back.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.neural_network import MLPClassifier
        >>> import nn_any as nn
        >>> x, y = load_iris(return_X_y=True)
        >>> mlp = MLPClassifier([8], solver="lbfgs", max_iter=2000, random_state=0).fit(x, y)
        >>> net = nn.Network.from_sklearn(mlp, device="numpy")
        >>> bool(abs(net.predict_proba(x) - mlp.predict_proba(x)).max() < 1e-5)
        True
        """
        from nn_any.files.sklearn_model import read_sklearn

        return cls._placed(read_sklearn(estimator, seed), device)

    def to_sklearn(self) -> Any:
        """The fitted estimator of scikit-learn that the network is; its predictions are the same to rounding.

        Returns
        -------
        MLPClassifier or MLPRegressor
            With copies of the weights, in the network's dtype. `Standardize` at the front makes it a `Pipeline` with
            `StandardScaler`, and at the end a `TransformedTargetRegressor`. Classes are sorted by their names, as
            scikit-learn has them, and two classes have one output. Dropout and augmentation are left out, since
            prediction does not use them. The estimator keeps as much of the loss as scikit-learn has. It takes numbers
            as they are: divide stored integers by ``net.schema.scale``, if there is one.

        Raises
        ------
        TypeError, ValueError
            If scikit-learn has no place for a layer, an activation, or the outputs; `to_onnx` takes them.

        See Also
        --------
        Network.from_sklearn : the way here, with an example.
        """
        from nn_any.files.sklearn_model import write_sklearn

        return write_sklearn(host_snapshot(self.snapshot))

    @classmethod
    def from_torch(
        cls,
        module: Any,
        *,
        input_shape: Any = None,
        loss: Any = None,
        task: str | None = None,
        device: str | Device | None = None,
        seed: int | None = None,
    ) -> Self:
        """The network that a PyTorch module in evaluation mode is; its outputs are the same to rounding.

        Parameters
        ----------
        module : torch.nn.Sequential
            Of modules that have their like here; a `Sequential` may hold others.
        input_shape : int or tuple of int, optional
            The shape of one example as the module takes it, ``(channels, height, width)``. It is needed where the first
            module with parameters is not ``Linear``, which tells it.
        loss : str or Loss or one of PyTorch's, optional
            By default that which goes with the last activation. Where there is none, it must be given:
            ``"log_likelihood"`` or ``nn.CrossEntropyLoss()`` for logits of classes, which become a softmax,
            ``"cross_entropy"`` or ``nn.BCEWithLogitsLoss()`` for logits of yes and no, which become sigmoids, and
            ``"mean_squared_error"`` for numbers.
        task : str, optional
            As for `Network`. By default several outputs with a sigmoid each are ``"multilabel"``, as in PyTorch, unless
            `loss` is a name or a loss of this package.
        device : str or Device, optional
        seed : int, optional
            The seed of further training; by default a new one.

        Returns
        -------
        Network
            It takes images with their channels last, ``(n, height, width, channels)``. Float64 modules make float64
            networks, all others float32. Parameters without ``requires_grad`` are frozen.

        Raises
        ------
        TypeError, ValueError
            If a module, a setting or the loss has no like here; the message names its place.

        See Also
        --------
        Network.to_torch : the way back.
        """
        select_device("torch:cpu")  # if PyTorch is not there, the error says how to install it
        from nn_any.backends._torch_reading import read_module

        return cls._placed(read_module(module, input_shape, loss, task, seed), device)

    def to_torch(self) -> Any:
        """The PyTorch module that the network is; its outputs are those of `feedforward` to rounding.

        Returns
        -------
        torch.nn.Sequential
            On the CPU, in evaluation mode, with copies of the parameters in the network's dtype. It takes images with
            their channels in front, ``(n, channels, height, width)``, and ends with the last activation: leave it out
            with ``module[:-1]`` for losses that take logits. It takes numbers as they are: divide stored integers by
            ``net.schema.scale``, if there is one. Augmentation is left out, since prediction does not use it. Where
            PyTorch has no such module, it holds one from this package, which `torch.load` then needs.

        Raises
        ------
        DeviceNotAvailableError
            If PyTorch is not installed.
        TypeError, ValueError
            If a layer or an activation is your own, or inputs have more than three axes.

        See Also
        --------
        Network.from_torch : the way here.
        """
        select_device("torch:cpu")  # if PyTorch is not there, the error says how to install it
        from nn_any.backends._torch_writing import write_module

        return write_module(host_snapshot(self.snapshot))

    @classmethod
    def from_keras(
        cls,
        model: Any,
        *,
        loss: Any = None,
        task: str | None = None,
        device: str | Device | None = None,
        seed: int | None = None,
    ) -> Self:
        """The network that a Keras model is; its predictions are the same to rounding.

        Parameters
        ----------
        model : keras.Sequential
            Built, of layers that have their like here, with images that have their channels last.
        loss : str or Loss, optional
            By default the one that the model is compiled with, else that which goes with the last activation. Where the
            outputs are logits, they get the activation that suits the loss.
        task : str, optional
            As for `Network`. By default several outputs with a sigmoid each are ``"multilabel"``, as in Keras, unless
            `loss` is given.
        device : str or Device, optional
        seed : int, optional
            The seed of further training; by default a new one.

        Returns
        -------
        Network
            Layers that are not ``trainable`` are frozen. ``Normalization`` and ``Rescaling`` become `Standardize`.

        Raises
        ------
        TypeError, ValueError
            If a layer, a setting or the loss has no like here; the message names its place.
        """
        from nn_any.files.keras_model import read_keras

        return cls._placed(read_keras(model, loss, task, seed), device)

    @classmethod
    def _placed(cls, host: HostSnapshot, device: str | Device | None) -> Self:
        """A network that was read, on a device."""
        place = select_device(device)
        return cls(placed_snapshot(host, place), device=place)

    def feedforward(self, a: Any) -> Array:
        """The outputs for inputs `a`: (n, inputs) -> (n, outputs), one example (inputs,) -> (outputs,).

        Parameters
        ----------
        a : array, NumPy or on the network's device, or nested list; images may have the input shape or be flat

        Returns
        -------
        array on the network's device, in its dtype

        Examples
        --------
        >>> from nn_any import Network
        >>> Network([2, 3, 1], device="numpy", seed=0).feedforward([0.5, -0.5]).shape
        (1,)
        """
        x, scale, single = own_inputs(self.specification, self.device, a)
        outputs = evaluation.outputs(self.snapshot, self.device, x, scale)
        return outputs[0, ...] if single else outputs

    def predict(self, x: Any) -> Array:
        """The predicted classes (n,), or for regression the outputs (n, outputs); for one example without the n.

        The class is the index of the largest output; for a single output, whether it is above ½. A multilabel network
        gives 1 for each output above ½ and 0 for the others, (n, outputs).
        """
        outputs = self.feedforward(x)
        if self.is_regression:
            return outputs
        answer = answers.predicted_labels if self.task == "multilabel" else answers.predicted_classes
        with self.device.scope():
            return answer(outputs, xp=self.device.xp)

    def predict_names(self, x: Any) -> Any:
        """What `predict` answers, in the names of the classes.

        Returns
        -------
        names : NumPy array, (n,)
            The names, or the numbers of classes that have none; text is of a text dtype. A multilabel network gives a
            list with a tuple for each example: the names of the outputs that it answers with yes. For one example its
            name, or its tuple.

        Raises
        ------
        TypeError
            If the network is for regression.

        Examples
        --------
        >>> import nn_any as nn
        >>> net = nn.Network([2, 2], loss="log_likelihood", device="numpy", seed=1)
        >>> history = net.fit(([[0, 1], [1, 0]], ["up", "down"]), epochs=50, optimizer=nn.SGD(1.0))
        >>> net.predict_names([[0, 1], [1, 0]])
        array(['up', 'down'], dtype='<U4')
        """
        self._check_classifies("predict_names", "use predict")
        return evaluation.named(self.specification, to_numpy(self.predict(x)))

    def predict_proba(self, x: Any) -> Array:
        """The outputs of a classifier, (n, outputs): sigmoids lie in 0 … 1 each but need not sum to 1.

        Raises
        ------
        TypeError
            If the network is for regression, or its last activation gives values outside 0 … 1.
        """
        self._check_probabilities()
        return self.feedforward(x)

    def evaluate(self, data: Any, *misplaced: Any) -> int:
        """How many examples the network classifies correctly.

        A row of targets counts for the class of its largest entry. A warning says if rows name none or several. For a
        multilabel network an example is right if all its answers are.
        """
        self._check_classifies("evaluate", "use loss(data)")
        return int(
            evaluation.losses_and_correct(self.snapshot, self.device, self._classified_examples(data, *misplaced))[1]
        )

    def accuracy(self, data: Any, *misplaced: Any) -> float:
        """The share of the examples that the network classifies correctly, 0 … 1; see `evaluate`."""
        self._check_classifies("accuracy", "use loss(data)")
        examples = self._classified_examples(data, *misplaced)
        return int(evaluation.losses_and_correct(self.snapshot, self.device, examples)[1]) / examples.size

    def loss(self, data: Any, *misplaced: Any) -> float:
        """The loss, averaged over the examples, by their weights if the `Dataset` has any."""
        return float(evaluation.losses_and_correct(self.snapshot, self.device, self._examples(data, *misplaced))[0])

    def score(self, data: Any, *metrics: measures.Metric) -> dict[str, Any]:
        """Further measures of how right the network is, on the host.

        Parameters
        ----------
        data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
        *metrics : str or function
            As `nn_any.metrics` has them: ``"f1"``, ``"top_5_accuracy"``, ``nn_any.metrics.confusion_matrix``, or a
            function of NumPy arrays, targets and outputs.

        Returns
        -------
        dict
            By the metrics' names.

        Examples
        --------
        >>> import nn_any as nn
        >>> net = nn.Network([2, 3], device="numpy", seed=0)
        >>> sorted(net.score(([[0.0, 1.0], [1.0, 0.0]], [0, 2]), "f1", "top_2_accuracy"))
        ['f1', 'top_2_accuracy']
        """
        functions = self._functions(metrics)
        examples = self._classified_examples(data) if measures.count_classes(functions) else self._examples(data)
        return evaluation.scores(self.snapshot, self.device, examples, functions)

    def summary(self) -> str:
        """A table of the layers: what each one is, its output shape and its number of parameters.

        Examples
        --------
        >>> import nn_any as nn
        >>> print(nn.Network([784, 30, 10], device="numpy").summary())
        layer    activation  output  parameters
        input                784
        0 Dense  sigmoid     30          23,550
        1 Dense  sigmoid     10             310
        total                            23,860
        """
        return summary_table(self.layers, self.specification.shapes, self.params)
