"""Data sets on a device, and where to get some."""

from nn_any.datasets.augmentation import expand_mnist
from nn_any.datasets.dataset import Dataset, as_dataset
from nn_any.datasets.digits import load_digits
from nn_any.datasets.mnist import load_mnist
from nn_any.datasets.tables import load_table

__all__ = ["Dataset", "as_dataset", "expand_mnist", "load_digits", "load_mnist", "load_table"]
