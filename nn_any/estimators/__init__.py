"""scikit-learn's door: its multilayer perceptrons, with the networks of this package behind them."""

from nn_any.estimators.classifier import MLPClassifier
from nn_any.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
