"""PyTorch: `nn.Module` with `optim.SGD`, as users write it; the whole step compiled; and as a CUDA graph."""

import numpy as np
import torch
from torch import nn

import nn_any
from benchmarks.sides import Side

_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Eager(Side):
    """Forward, loss, `backward`, `optimizer.step`."""

    def __init__(self, job):
        super().__init__(job)
        if job.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch finds no CUDA GPU")
        self.device = torch.device("cuda" if job.device == "cuda" else "cpu")
        self.images = len(job.layers[0].output_shape(job.x.shape[1:])) == 3
        x = np.moveaxis(job.real, -1, 1).copy() if self.images else job.real  # channels first
        self.x, self.y = torch.from_numpy(x).to(self.device), torch.from_numpy(job.y).to(self.device)
        self.targets = torch.from_numpy(job.one_hot).to(self.device)
        self.model = _model(job, self.images).to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=job.workload.rate)
        self.quadratic = job.workload.loss == "quadratic"

    def present(self, order):
        self.order = torch.from_numpy(order).to(self.device)

    def loss(self, z, rows):
        if self.quadratic:
            return 0.5 * ((z - self.targets[rows]) ** 2).sum() / len(rows)
        return nn.functional.cross_entropy(z, self.y[rows])

    def step(self, rows):
        self.optimizer.zero_grad()
        self.loss(self.model(self.x[rows]), rows).backward()
        self.optimizer.step()

    def run(self):
        for rows in self.order:
            self.step(rows)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def parameters(self):
        arrays = [p.detach().cpu().numpy() for p in self.model.parameters()]
        shapes = [w.shape for w in self.job.weights]
        turned = [_turned_back(w, shape, self.images) for w, shape in zip(arrays[::2], shapes, strict=True)]
        return _flattened(self.job, turned, back=True), arrays[1::2]


class Compiled(Eager):
    """`torch.compile` of the whole step as one graph: gradients by `torch.func`, descent in place.

    On a GPU in the mode ``reduce-overhead``, which records CUDA graphs.
    """

    def __init__(self, job):
        super().__init__(job)
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        torch._dynamo.reset()
        self.values = {name: p.detach() for name, p in self.model.named_parameters()}
        gradient = torch.func.grad(
            lambda values, rows: self.loss(torch.func.functional_call(self.model, values, (self.x[rows],)), rows)
        )
        rate = job.workload.rate
        if self.device.type == "cuda":  # or every replay of the graph would copy the data set
            for tensor in (self.x, self.y, self.targets, *self.values.values()):
                torch._dynamo.mark_static_address(tensor)

        def step(rows):
            for name, slope in gradient(self.values, rows).items():
                self.values[name].sub_(slope, alpha=rate)

        self.compiled = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    def step(self, rows):
        with torch.no_grad():
            self.compiled(rows)


class CudaGraph(Eager):
    """The eager step captured once by `torch.cuda.graph`, and replayed with other rows."""

    def __init__(self, job):
        super().__init__(job)
        if self.device.type != "cuda":
            raise RuntimeError("CUDA graphs need a CUDA GPU")
        kept = [p.detach().clone() for p in self.model.parameters()]
        self.rows = torch.zeros(job.workload.batch, dtype=torch.int64, device=self.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                Eager.step(self, self.rows)
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            Eager.step(self, self.rows)
        with torch.no_grad():
            for p, first in zip(self.model.parameters(), kept, strict=True):
                p.copy_(first)

    def step(self, rows):
        self.rows.copy_(rows)
        self.graph.replay()


def _model(job, images):
    parts, shape, arrays = [], job.x.shape[1:], iter(_both(job, images))
    for layer in job.layers:
        after = layer.output_shape(shape)
        match layer:
            case nn_any.Dense():
                module = nn.Linear(shape[0], layer.units)
            case nn_any.Conv2D():
                module = nn.Conv2d(shape[2], layer.filters, layer.kernel_size)
            case nn_any.MaxPool2D():
                module = nn.MaxPool2d(layer.size)
            case nn_any.Flatten():
                module = nn.Flatten()
            case _:
                raise TypeError(f"no such layer here: {layer}")
        parts.append(module)
        if isinstance(layer, nn_any.Dense | nn_any.Conv2D):
            weights, biases = next(arrays)
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(weights))
                module.bias.copy_(torch.from_numpy(biases))
            name = layer.activation.name
            parts += [] if name == "softmax" else [_ACTIVATIONS[name]()]  # cross_entropy takes logits
        shape = after
    return nn.Sequential(*parts)


def _both(job, images):
    weights = _flattened(job, job.weights, back=False) if images else job.weights
    turned = [np.moveaxis(w, -1, 1).copy() if w.ndim == 4 else w for w in weights]
    return zip(turned, job.biases, strict=True)


def _turned_back(w, shape, images):
    return np.moveaxis(w, 1, -1) if images and len(shape) == 4 else w


def _flattened(job, weights, back):
    """Weights behind a Flatten: its inputs come channel by channel here, and pixel by pixel in nn_any."""
    shape, found, arrays, behind = job.x.shape[1:], [], iter(weights), None
    for layer in job.layers:
        if isinstance(layer, nn_any.Flatten):
            behind = shape
        shape = layer.output_shape(shape)
        if isinstance(layer, nn_any.Dense | nn_any.Conv2D):
            w = next(arrays)
            if behind is not None:
                height, width, channels = behind
                first = (channels, height, width) if back else (height, width, channels)
                axes = (0, 2, 3, 1) if back else (0, 3, 1, 2)
                w, behind = w.reshape(len(w), *first).transpose(axes).reshape(len(w), -1), None
            found.append(w)
    return found
