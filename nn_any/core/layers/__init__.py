"""Layers: what a network is a stack of, and the protocol for adding your own (`base`)."""

from nn_any.core.layers.activation import Activation
from nn_any.core.layers.augmentation import ElasticDistortion, RandomAffine
from nn_any.core.layers.base import Context, Layer, from_config, names, register, to_config
from nn_any.core.layers.convolution import Conv2D
from nn_any.core.layers.dense import Dense
from nn_any.core.layers.dropout import Dropout
from nn_any.core.layers.flatten import Flatten
from nn_any.core.layers.normalization import BatchNorm, LayerNorm
from nn_any.core.layers.pooling import AveragePool2D, MaxPool2D
from nn_any.core.layers.standardize import Standardize

__all__ = [
    "Activation",
    "AveragePool2D",
    "BatchNorm",
    "Context",
    "Conv2D",
    "Dense",
    "Dropout",
    "ElasticDistortion",
    "Flatten",
    "Layer",
    "LayerNorm",
    "MaxPool2D",
    "RandomAffine",
    "Standardize",
    "from_config",
    "names",
    "register",
    "to_config",
]
