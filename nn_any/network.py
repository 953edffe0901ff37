"""Network: one neural network. It checks what it is given, calls functions of its snapshot, and keeps the result."""

from os import PathLike
from typing import Any, Self

from nn_any import evaluation
from nn_any import metrics as measures
from nn_any.backends import Device, select_device, to_numpy
from nn_any.core import metrics as answers
from nn_any.core import specification
from nn_any.core.losses import Loss
from nn_any.core.state import Snapshot
from nn_any.core.summary import summary_table
from nn_any.core.typing import Array
from nn_any.datasets.network_input import own_inputs
from nn_any.files import load_host_snapshot
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
        loaded, device = load_host_snapshot(path, ensemble=False), select_device(device)
        return cls(placed_snapshot(loaded, device), device=device)

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
