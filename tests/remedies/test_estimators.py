"""What the estimators have beyond scikit-learn's."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import compute_class_weight

import nn_any as nn

from . import place

X, LABELS = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
ONE = "estimators/base.py BaseMultilayerPerceptron."

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:lbfgs failed", "ignore:Got `batch_size`"
)


def classifier(**given):
    return nn.MLPClassifier(**{"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0, **given})


@place(f"{ONE}_check_further: {{}} needs epochs of random steps, and solver={{}} has", "dropout", "use solver='adam'")
def test_dropout_without_steps(refused):
    mlp = classifier(solver="lbfgs", dropout=0.5)
    with refused:
        mlp.fit(X, LABELS)
    assert mlp.set_params(solver="adam").fit(X, LABELS).n_iter_ == 2


@place(f"{ONE}_fit_lbfgs: layers: {{}} needs random steps, and solver='lbfgs'", "layers", "use solver='adam'")
def test_batch_norm_without_steps(refused):
    mlp = classifier(solver="lbfgs", layers=[nn.BatchNorm(), 3])
    with refused:
        mlp.fit(X, LABELS)
    assert mlp.set_params(solver="adam").fit(X, LABELS).n_iter_ == 2


@place(
    f"{ONE}_check_further: resume=True needs an estimator that is not fitted,",
    "random_state",
    "clone(estimator).set_params(random_state=0)",
)
def test_resuming_with_draws_that_differ(refused, tmp_path):
    estimator = classifier(random_state=None, checkpoint=tmp_path / "run.safetensors")
    with refused:
        estimator.fit(X, LABELS, resume=True)
    assert clone(estimator).set_params(random_state=0).fit(X, LABELS, resume=True).n_iter_ == 2


@place("estimators/following.py Follower.restore: resume=True needs the parameters of the", "alpha", "use the same")
def test_resuming_with_other_parameters(refused, tmp_path):
    path = tmp_path / "run.safetensors"
    classifier(checkpoint=path).fit(X, LABELS)
    with refused:
        classifier(checkpoint=path, alpha=1.0).fit(X, LABELS, resume=True)
    assert classifier(checkpoint=path, max_iter=3).fit(X, LABELS, resume=True).n_iter_ == 3


@place(
    "estimators/following.py Follower.restore: resume=True needs validation_data if the",
    "validation_data",
    "use the same",
)
def test_resuming_with_examples_to_score(refused, tmp_path):
    path = tmp_path / "run.safetensors"
    classifier(checkpoint=path).fit(X, LABELS, validation_data=(X, LABELS))
    with refused:
        classifier(checkpoint=path, max_iter=3).fit(X, LABELS, resume=True)
    resumed = classifier(checkpoint=path, max_iter=3).fit(X, LABELS, resume=True, validation_data=(X, LABELS))
    assert len(resumed.validation_scores_) == 3


@place(f"{ONE}_held_out: validation_data must be a tuple (X, y), or (X, y,", "validation_data", "a tuple (X, y)")
def test_inputs_alone_for_validation(refused):
    with refused:
        classifier().fit(X, LABELS, validation_data=X)
    assert len(classifier().fit(X, LABELS, validation_data=(X, LABELS)).validation_scores_) == 2


@place(
    "estimators/classifier.py MLPClassifier._validated_held_out: validation_data has classes that `y` does not",
    "[3]",
    "leave these rows out",
)
def test_unknown_classes_for_validation(refused):
    others = np.where(np.arange(30) < 4, 3, LABELS)
    with refused:
        classifier().fit(X, LABELS, validation_data=(X, others))
    classifier().fit(X, LABELS, validation_data=(X[others < 3], others[others < 3]))


@place(
    "estimators/regressor.py MLPRegressor._validated_held_out: validation_data: y must have {} outputs, got {};",
    "2 outputs",
    "pass all of them",
)
def test_one_of_two_outputs_for_validation(refused):
    mlp = nn.MLPRegressor(hidden_layer_sizes=3, max_iter=2)
    with refused:
        mlp.fit(X, X[:, :2], validation_data=(X, X[:, 0]))
    mlp.fit(X, X[:, :2], validation_data=(X, X[:, :2]))


@place(
    "estimators/classifier.py MLPClassifier._weighted: class_weight='balanced' needs all of the data at",
    "partial_fit",
    "pass a dict such as dict(zip(classes, sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))",
)
def test_balanced_parts(refused):
    classes, y = np.arange(3), LABELS
    mlp = classifier(class_weight="balanced")
    with refused:
        mlp.partial_fit(X, y, classes=classes)
    mlp.set_params(class_weight=dict(zip(classes, compute_class_weight("balanced", classes=classes, y=y), strict=True)))
    assert mlp.partial_fit(X, y, classes=classes).n_iter_ == 1
