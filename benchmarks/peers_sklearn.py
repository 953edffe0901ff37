"""scikit-learn's MLPClassifier: plain SGD, no penalty, no momentum, the same batches."""

import warnings

from benchmarks.sides import Side


class Classifier(Side):
    """It knows softmax outputs with the log loss alone, so for the quadratic workload it does that: the same products.

    Its batches are handed to it in their order, so it takes slices where the others gather rows.
    """

    def __init__(self, job):
        if job.workload.loss != "log_likelihood":
            layers = (*job.workload.layers[:-1], _softmax(job.workload.layers[-1]))
            job = job.varied(layers=layers, loss="log_likelihood", rate=0.5)
        super().__init__(job)
        from sklearn.neural_network import MLPClassifier

        w = job.workload
        self.model = MLPClassifier(
            [layer.units for layer in job.layers[:-1]],
            activation={"sigmoid": "logistic"}.get(job.layers[0].activation.name, job.layers[0].activation.name),
            solver="sgd",
            alpha=0.0,
            batch_size=w.batch,
            learning_rate="constant",
            learning_rate_init=w.rate,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        self.model.partial_fit(job.real[: w.batch], job.y[: w.batch], classes=list(range(10)))  # makes its arrays
        for ours, theirs in zip(job.weights, self.model.coefs_, strict=True):
            theirs[...] = ours.T
        for ours, theirs in zip(job.biases, self.model.intercepts_, strict=True):
            theirs[...] = ours

    def present(self, order):
        rows = order.reshape(-1)
        self.batches = self.job.real[rows], self.job.y[rows]

    def run(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged after an epoch, of course
            self.model.partial_fit(*self.batches)

    def parameters(self):
        return [w.T for w in self.model.coefs_], list(self.model.intercepts_)


def _softmax(layer):
    from nn_any import Dense

    return Dense(layer.units, activation="softmax")
