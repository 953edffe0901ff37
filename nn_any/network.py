"""Network: the friendly face over the pure core. It checks once at the edge, and delegates."""

from nn_any.trainable import Trainable


class Network(Trainable):
    """A neural network on a device of any array library.

    Parameters
    ----------
    layers : sequence
        The input shape first (a number of features or a tuple), then layers; a bare number is a `Dense` layer with the
        default activation. ``[784, 30, 10]`` is the book's first network.
    activation : str or Activation
        The default of layers that name none: ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"gelu"``,
        ``"silu"``, ``"softplus"``, ``"exponential"``, ``"softmax"``, ``"linear"``, or your own.
    loss : str or Loss
        For classes ``"quadratic"``, ``"cross_entropy"`` (sigmoid outputs) or ``"log_likelihood"`` (softmax outputs);
        for numbers ``"mean_squared_error"``, ``"mean_absolute_error"``, ``"huber"`` or ``"poisson"``; or your own.
    initializer : str or Initializer
        The default of layers that name none: ``"normal"``, ``"scaled_normal"``, ``"glorot_uniform"``, ``"he_normal"``
        and their kin, ``"lecun_normal"``, ``"orthogonal"``, ``"zeros"``, or your own.
    device : str or Device, optional
        As `select_device` has it; by default ``NN_ANY_DEVICE``, else a CUDA GPU that works, else the CPU.
    dtype : str
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
    The loss says whether a network classifies or predicts numbers. The quadratic loss leaves that to the last
    activation: linear is for regression, where `predict` returns the outputs, and every other one for classes.
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
