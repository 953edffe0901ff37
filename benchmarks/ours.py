"""nn_any's own sides: a network, an ensemble, and as many networks one after another."""

import nn_any as nn
from benchmarks.sides import Side


def _host(net):
    return [nn.to_numpy(w) for w in net.weights], [nn.to_numpy(b) for b in net.biases]


class Ours(Side):
    """`Network.fit` on a device: stored uint8 images with their scale, as `load_mnist` gives them, or float32."""

    def __init__(self, job, device, mode="auto", real=False):
        super().__init__(job)
        self.mode, self.real = mode, real
        self.net = job.network(device)
        self.data = {}
        self.optimizer = nn.SGD(learning_rate=job.workload.rate)

    def present(self, order):
        self.rows, self.epochs = _stretch(self.job, order)
        if self.rows not in self.data:
            self.data = {self.rows: _dataset(self.job, self.rows, self.net.device, self.real)}

    def run(self):
        history = self.net.fit(
            self.data[self.rows],
            epochs=self.epochs,
            batch_size=self.job.workload.batch,
            optimizer=self.optimizer,
            engine=self.mode,
        )
        self.engine = history.engine

    def parameters(self):
        return _host(self.net)


class Together(Ours):
    """`Ensemble.fit`."""

    def __init__(self, job, device):
        Side.__init__(self, job)
        if not hasattr(nn, "Ensemble"):
            raise RuntimeError("nn_any has no Ensemble yet")
        w = job.workload
        self.mode, self.real, self.data = "auto", False, {}
        self.net = nn.Ensemble(
            list(w.layers),
            w.members,
            loss=w.loss,
            initializer=w.initializer,
            device=device,
            learning_rates=[float(rate) for rate in job.rates],
            seeds=list(range(w.members)),
            threads=job.threads if device == "numpy" else None,
        )
        self.optimizer = nn.SGD(learning_rate=w.rate)

    def parameters(self):
        return _host(self.net[0])


class Alone(Side):
    """Some of the networks of an ensemble, one after another; the time is multiplied up to all of them."""

    SOME = 4

    def __init__(self, job, device):
        super().__init__(job)
        members = job.workload.members
        some = min(self.SOME, members)
        self.sides = [_Member(job, device, i * members // some) for i in range(some)]
        self.times = members / some

    def present(self, order):
        for side in self.sides:
            side.data = self.sides[0].data  # one copy on the device for all
            side.present(order)
            self.sides[0].data = side.data

    def run(self):
        for side in self.sides:
            side.run()
        self.engine = self.sides[0].engine

    def parameters(self):
        return self.sides[0].parameters()


class _Member(Ours):
    def __init__(self, job, device, number):
        super().__init__(job, device)
        self.net = job.network(device, seed=number)
        self.optimizer = nn.SGD(learning_rate=float(job.rates[number]))


def _stretch(job, order):
    """Rows and epochs of a stretch: the harness's batches are this network's own order, so only their number counts."""
    rows = min(order.size, job.workload.rows)
    return rows, order.size // rows


def _dataset(job, rows, device, real=False):
    if real:
        return nn.Dataset(job.real[:rows], job.y[:rows], classes=10, device=device)
    return job.dataset(rows, device)
