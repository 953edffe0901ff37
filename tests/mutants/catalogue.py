"""The mutants: each is the package with one small fault in it, such as a wrong sign.

`old` is one line or a part of one, and occurs exactly once in its file; ``test_mutants.py`` holds the list to that.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One fault: in `file`, below ``nn_any/``, `new` stands in the place of `old`."""

    file: str
    old: str
    new: str
    breaks: str
    """What is wrong then."""


CORE = [
    Mutant(
        "core/layers/dense.py",
        "biases - total(delta, axis=-2, xp=xp)",
        "biases + total(delta, axis=-2, xp=xp)",
        "plain descent moves the biases uphill",
    ),
    Mutant("core/primitives.py", "delta * (a * (1 - a))", "delta * (a * (1 + a))", "the derivative of the sigmoid"),
    Mutant(
        "core/functional.py",
        "weights[..., None] * delta",
        "delta",
        "the weights of examples do not reach the gradients",
    ),
    Mutant(
        "core/functional.py",
        "(*layer.decayed, *(False,) * len(p))",
        "(*layer.decayed, *(True,) * len(p))",
        "weight decay acts on what normalisations learn, too",
    ),
    Mutant("core/functional.py", "count + 1, key)", "count, key)", "each step draws the same dropout mask"),
    Mutant("core/losses.py", "(difference - 0.5 * cut)", "(difference - 0.25 * cut)", "the value of the Huber loss"),
    Mutant(
        "core/layers/dropout.py", "x.dtype) * (1.0 / keep)", "x.dtype)", "what dropout keeps is not scaled up for it"
    ),
    Mutant("core/initializers.py", '"he": 2 / fan_in', '"he": 2 / fan_out', "He's start takes the wrong fan"),
    Mutant(
        "core/layers/convolution.py",
        "kernels, area * input_shape[2], area * self.filters)",
        "kernels, input_shape[2], self.filters)",
        "the fan of a convolution forgets its window",
    ),
    Mutant(
        "core/specification.py",
        'random.stream(seed, "weights", i)',
        'random.stream(seed, "weights", 0)',
        "all layers draw their first weights from one stream",
    ),
    Mutant(
        "core/optimizers/adaptive.py",
        "xp.sqrt(v) / per_parameter(root, v) + self.epsilon)",
        "xp.sqrt(v + self.epsilon) / per_parameter(root, v))",
        "Adam's ε stands below the root",
    ),
    Mutant("core/optimizers/adaptive.py", "count + 1.0", "count + 2.0", "Adam counts its steps from one too many"),
    Mutant("core/optimizers/sgd.py", "g + self.momentum * v", "g + v", "Nesterov's step looks too far ahead"),
    Mutant(
        "core/regularization.py",
        "per_parameter(weight_decay * learning_rate, w)",
        "per_parameter(weight_decay * learning_rate**0, w)",
        "AdamW's decay is not times the learning rate",
    ),
    Mutant(
        "core/regularization.py",
        "_squares(w, lead + 1, keepdims",
        "_squares(w, lead, keepdims",
        "max-norm limits a layer as a whole, not each unit",
    ),
    Mutant(
        "core/schedules/curves.py",
        "self.warmup * (self.epochs * steps) - 1",
        "self.warmup * (self.epochs * steps)",
        "the peak of OneCycle is one step late",
    ),
    Mutant(
        "core/schedules/monitoring.py",
        "if bad > self.patience",
        "if bad >= self.patience",
        "ReduceOnPlateau loses patience an epoch early",
    ),
    Mutant(
        "core/schedules/monitoring.py",
        "threshold * abs(best)",
        "threshold * best",
        "a plateau below zero counts as an improvement",
    ),
    Mutant("core/metrics.py", "(yes != 1) & ~mixed", "(yes > 1) & ~mixed", "rows without a class go unnoticed"),
    Mutant(
        "core/layers/normalization.py",
        " * (count / (count - 1))",
        "",
        "the running variance of BatchNorm is the biased one",
    ),
    Mutant("core/batches.py", "x / self.scale", "x * self.scale", "stored integers are multiplied by the scale"),
    Mutant("core/metrics.py", "outputs[..., 0] > 0.5", "outputs[..., 0] >= 0.5", "an output of exactly ½ says yes"),
    Mutant(
        "core/members.py",
        "xp.where(first, sums, smallest)",
        "xp.where(first, votes, smallest)",
        "of classes with equally many votes the first one wins",
    ),
    Mutant(
        "core/random.py",
        'stream(seed, "order", epoch)',
        'stream(seed, "order")',
        "every epoch visits the examples in the same order",
    ),
]

BACKENDS = [
    Mutant(
        "backends/engine.py",
        "xp), rates[i, ...])",
        "xp), rates[start, ...])",
        "the plain loop keeps the first learning rate of a segment",
    ),
    Mutant(
        "backends/engine.py",
        "flat = xp.reshape(rows, (-1,))",
        "flat = xp.reshape(rows, (-1,)) * 0 + rows[0, 0]",
        "an ensemble sees one example over and over",
    ),
    Mutant(
        "backends/_jax.py",
        "fori_loop(0, pieces,",
        "fori_loop(1, pieces,",
        "JAX leaves out the first step of a segment",
    ),
    Mutant("backends/_torch.py", "alpha=-1.0", "alpha=1.0", "PyTorch moves the weights uphill"),
    Mutant(
        "backends/_torch.py",
        "threshold_backward(delta, z, 0)",
        "threshold_backward(delta, z, 1)",
        "PyTorch's derivative of relu jumps at 1",
    ),
    Mutant(
        "backends/_numpy.py",
        "np.multiply(delta, z > 0,",
        "np.multiply(delta, z >= 0,",
        "NumPy's derivative of relu is 1 at 0",
    ),
    Mutant(
        "backends/replay/batching.py",
        "if (reader is None or reader in ordered) and all(",
        "if all(",
        "a replayed step overwrites weights that it has yet to read",
    ),
    Mutant(
        "backends/replay/buffers.py",
        "piece.start = other.stop",
        "piece.start = other.start + ALIGNMENT",
        "arrays of a replayed step share memory that both want",
    ),
    Mutant(
        "backends/replay/program.py",
        "[plan.loss]",
        "[plan.loss][::-1]",
        "the losses of replayed steps come in the opposite order",
    ),
    Mutant(
        "backends/replay/program.py",
        "(first + start) % self._chunk",
        "start % self._chunk",
        "velocities are flushed at other steps where an epoch goes on",
    ),
    Mutant(
        "backends/blocks.py",
        "slice(end - size, end)",
        "slice(end - size, end - size + 1)",
        "blocks lose members of an ensemble",
    ),
]

DATA = [
    Mutant("datasets/digits.py", "scale=16", "scale=15", "the digits' pixels exceed 1"),
    Mutant(
        "datasets/splitting.py",
        "None if labels is None else labels[rest]",
        "None",
        "a split does not keep the proportions of the classes",
    ),
    Mutant(
        "datasets/dataset.py",
        "xp.take(self.sample_weight, index, axis=0)",
        "self.sample_weight",
        "rows that are taken have the weights of others",
    ),
    Mutant("datasets/splitting.py", "whole - shares", "shares - whole", "the smallest remainders are rounded up"),
    Mutant("datasets/network_input.py", "smallest == 0", "smallest < 0", "rows of weight 0 make losses NaN"),
    Mutant("backends/devices.py", "masked := int(", "masked := 0 * int(", "masked entries are taken"),
    Mutant("core/losses.py", "target_range = (0.0, 1.0)", "target_range = (-1.0, 1.0)", "targets below 0 are taken"),
    Mutant("datasets/network_input.py", "w / mean", "w", "the weights of examples are not brought to a mean of 1"),
    Mutant("datasets/mnist.py", "len(x) // 6", "len(x) // 5", "too much of MNIST is for validation"),
    Mutant(
        "files/model.py",
        ".view(np.uint8).data",
        ".view(np.uint8)[1:].data",
        "the SHA-256 of a model file leaves out a byte of each tensor",
    ),
    Mutant("files/model.py", "for name in sorted(tensors)", "for name in tensors", "the SHA-256 depends on an order"),
    Mutant(
        "files/safetensors.py",
        "begin != stop or end - begin",
        "end - begin",
        "a forged file may have gaps between its tensors",
    ),
    Mutant("files/atomic.py", "len(prefix) + 36", "len(prefix) + 35", "what a killed writer left stays for good"),
    Mutant(
        "validation.py",
        "axes != wanted_axes",
        "sorted(axes) != sorted(wanted_axes)",
        "images with the channels in front are taken for others",
    ),
    Mutant("validation.py", "if largest >= classes", "if largest > classes", "a label one too large is taken"),
]

RUNS = [
    Mutant("evaluation.py", "start + rows, n)", "start + rows - 1, n)", "evaluation loses an example of each chunk"),
    Mutant(
        "evaluation.py",
        "losses[0] / examples.size, correct[0]",
        "losses[0] / len(parts), correct[0]",
        "the loss is averaged over chunks, not examples",
    ),
    Mutant(
        "training/segments.py",
        "max(begin - first, 0)",
        "max(begin - first - 1, 0)",
        "a resumed epoch repeats the step before",
    ),
    Mutant("training/mini_batch.py", "not finite.all()", "not finite.any()", "one loss that is NaN goes unnoticed"),
    Mutant(
        "training/mini_batch.py",
        "epoch=progress.epoch + 1, unfinished=None",
        "epoch=progress.epoch + 1",
        "an epoch that is done still counts as unfinished",
    ),
    Mutant(
        "training/mini_batch.py",
        "float(rates[-1])",
        "float(rates[0])",
        "a record has the learning rate of the epoch's first step",
    ),
    Mutant(
        "training/mini_batch.py",
        "rates(len(progress.records),",
        "rates(progress.epoch,",
        "a schedule counts the epochs of earlier optimizers",
    ),
    Mutant(
        "training/members.py",
        "device_rates[:, members]",
        "device_rates[:, slices[0]]",
        "every block of members has the learning rates of the first",
    ),
    Mutant(
        "training/members.py",
        "updated, lost = active & healthy,",
        "updated, lost = active,",
        "an epoch counts for members that diverged in it",
    ),
    Mutant("training/loop.py", "len(run.history) < run.epochs", "len(run.history) <= run.epochs", "an epoch too many"),
    Mutant(
        "training/early_stopping.py",
        "gain > self.min_delta",
        "gain >= self.min_delta",
        "an equal value counts as a better one",
    ),
    Mutant(
        "training/early_stopping.py",
        "self._waited >= self.patience",
        "self._waited > self.patience",
        "a run waits an epoch longer than it should",
    ),
    Mutant("training/checkpoint.py", "done % self.every == 0", "done % self.every == 1", "every= counts from 1"),
    Mutant(
        "training/checkpoint.py",
        "epoch % self.keep_every == 0",
        "done % self.keep_every == 0",
        "keep_every= counts the epochs of one run only",
    ),
    Mutant(
        "training/checkpoint.py",
        "else value < self._best_value",
        "else value > self._best_value",
        "the worst epoch is kept as the best",
    ),
    Mutant(
        "training/checkpoint.py",
        "goes_on = resume and self.path.exists()",
        "goes_on = resume",
        "a run that begins overwrites the best state of another",
    ),
    Mutant(
        "training/fit.py",
        "seconds += time.perf_counter() - begun",
        "seconds = time.perf_counter() - begun",
        "the time of an epoch is that of its last segment",
    ),
    Mutant(
        "training/interrupts.py",
        "if caught.signal is None:",
        "if caught.signal is not None:",
        "the handlers of signals are not put back",
    ),
    Mutant(
        "training/states.py",
        "optimizer == snapshot.progress.optimizer",
        "optimizer is snapshot.progress.optimizer",
        "an equal optimizer starts anew",
    ),
    Mutant(
        "training/whole_batch.py",
        "batch[0].shape[0] / n",
        "1.0",
        "L-BFGS adds the losses of chunks up",
    ),
]

MODELS = [
    Mutant(
        "training/parameters.py",
        "if shape != wanted",
        "if array.ndim != old.ndim",
        "set_weights takes arrays of other sizes",
    ),
    Mutant("model.py", ">= len(self.layers)", "> len(self.layers)", "freeze takes a place behind the last layer"),
    Mutant("ensemble.py", "range(len(self))[i]", "abs(i)", "ensemble[-1] is not the last member"),
    Mutant("ensemble.py", "np.argmin(", "np.argmax(", "the best member is the worst"),
    Mutant("metrics.py", "[:, :k]", "[:, : k + 1]", "top-k accuracy looks at one output too many"),
    Mutant("metrics.py", '"binary" if', '"micro" if', "precision of yes and no counts both classes"),
]

DOORS = [
    Mutant(
        "book/network2.py",
        "weight_decay=lmbda / len(training)",
        "weight_decay=lmbda",
        "the book's λ is not divided by the number of examples",
    ),
    Mutant("book/network2.py", "0.5 * (lmbda / n)", "1.0 * (lmbda / n)", "the book's cost has twice the penalty"),
    Mutant("cli/app.py", "FAILURE, USAGE = 1, 2", "FAILURE, USAGE = 2, 1", "the exit codes"),
    Mutant(
        "cli/train.py",
        '["test_loss"][saved_epoch - 1]',
        '["test_loss"][-1]',
        "nn-any train tells the test loss of other weights than it saves",
    ),
    Mutant(
        "cli/search.py",
        "scores[i * seeds : (i + 1) * seeds]",
        "scores[i : i + seeds]",
        "a sweep mixes the seeds of its pairs up",
    ),
    Mutant("cli/search.py", "ddof=1", "ddof=0", "the spread over seeds is too small"),
    Mutant("plotting/sweep.py", '(100, ", %")', '(1, ", %")', "accuracies in per cent are drawn as fractions"),
    Mutant(
        "measuring.py",
        "np.median(found)",
        "np.max(found)",
        "one slow segment makes a device look slow",
    ),
]

CUDA = [  # which the tests marked gpu notice, on a GPU or on the host stand-in for CUDA
    Mutant(
        "backends/cuda/fused_mlp.cu",
        "__syncthreads();  // also: the next layer may lay its partial sums over these",
        "// also: the next layer may lay its partial sums over these",
        "no barrier behind a layer's activations",
    ),
    Mutant(
        "backends/cuda/fused_mlp.cu",
        "__syncthreads();  // the update has read the inputs, and whoever reads the weights next finds all of them",
        "",
        "no barrier behind the update",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "current.wait_event(self._done)",
        "current.ptr",
        "what a graph still reads is overwritten in the caller's stream",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "self._stream.wait_event(current.record())",
        "current.record()",
        "a graph does not wait for the state that it begins with",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "cupy.cuda.get_current_stream().wait_event(self._done)",
        "cupy.cuda.get_current_stream()",
        "the caller's stream does not wait for the graph",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "tree_map(cupy.copy, self._state), self._work",
        "self._state, self._work",
        "the graph's own state is handed out, which the next segment overwrites",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "self._at.fill(start)",
        "self._at.fill(0)",
        "a second segment begins at the first batch",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "self._at += steps",
        "self._at += cupy.asarray([steps])",
        "a number of the host is copied within a capture",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "cupy.cuda.Stream(non_blocking=True)",
        "cupy.cuda.Stream.null",
        "the default stream is captured",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "with self._stream, cupy.cuda.using_allocator(self._memory.malloc), using(self._products):",
        "with self._stream, using(self._products):",
        "what lies between a graph's kernels is memory that others get as well",
    ),
    Mutant(
        "backends/_cupy_graph.py",
        "now = at + ahead",
        "now = at * 0 + ahead",
        "the step's number is frozen",
    ),
    Mutant(
        "backends/in_place.py",
        "sources = apart(tuple([leaf for _, leaf in pairs]), state, memory, copy)",
        "sources = [leaf for _, leaf in pairs]",
        "new states that are old ones are read after they were overwritten",
    ),
    Mutant(
        "backends/_cupy_engine.py",
        "for leaf in (order, rates, *tree_leaves(state))",
        "for leaf in tree_leaves(state)",
        "a short batch is run by the graph of the long ones",
    ),
    Mutant(
        "backends/_cupy_engine.py",
        "cupy.cuda.Device(self._index)",
        "cupy.cuda.Device(cupy.cuda.Device().id)",
        "the steps run on whichever GPU is current",
    ),
    Mutant(
        "backends/_cupy_products.py",
        "self._workspace.data.ptr, self._workspace.nbytes)",
        "self._workspace.data.ptr, 0)",
        "cuBLAS is captured without a workspace",
    ),
    Mutant(
        "backends/_cupy_products.py",
        "stream = cupy.cuda.get_current_stream().ptr",
        "stream = 0",
        "products are made in the default stream, beside the graph",
    ),
]

USE = [
    Mutant(
        "datasets/network_input.py",
        "specification.schema.scale if _is_scaled(array) else None",
        "None",
        "raw images are not divided in prediction",
    ),
    Mutant("datasets/network_input.py", "dataset.scale or known.scale", "known.scale", "no scale is learnt"),
    Mutant(
        "datasets/network_input.py",
        "return dataset.with_classes(own)",
        "return dataset",
        "classes in another order are mixed up",
    ),
    Mutant(
        "datasets/network_input.py",
        "with_columns([its.index(name) for name in own])",
        "with_columns([own.index(name) for name in own])",
        "columns in another order are mixed up",
    ),
    Mutant(
        "datasets/labels.py", "tuple(sorted(set(labels)))", "tuple(dict.fromkeys(labels))", "classes are not sorted"
    ),
    Mutant(
        "datasets/rows.py", "self.matrix[rows].toarray", "self.matrix[rows[::-1]].toarray", "sparse rows are mixed up"
    ),
    Mutant(
        "training/segments.py", "% size % length)[:, None]", "% length)[:, None]", "sparse rows are taken out of place"
    ),
    Mutant(
        "core/metrics.py", "xp.all(predicted_labels", "xp.any(predicted_labels", "one right answer of several is enough"
    ),
    Mutant("core/members.py", "2 * xp.sum(answers", "xp.sum(answers", "a yes of an ensemble needs all members"),
    Mutant("core/specification.py", "self.given_task is not None", "False", "the task is forgotten"),
    Mutant("files/network.py", 'about.get("task")', "None", "files lose the task"),
    Mutant("files/onnx_layers.py", "transB=1", "transB=0", "ONNX multiplies by weights the other way round"),
    Mutant(
        "files/sklearn_model.py",
        "(weights.T, biases)",
        "(weights.reshape(weights.T.shape), biases)",
        "weights of scikit-learn are not turned",
    ),
    Mutant(
        "files/keras_model.py", ".transpose(3, 0, 1, 2)", ".transpose(3, 1, 0, 2)", "kernels of Keras lie on their side"
    ),
    Mutant(
        "backends/frames.py",
        "[places[name] for name in names]",
        "sorted(places[name] for name in names)",
        "columns of frames keep the order of the frame",
    ),
    Mutant(
        "datasets/csv_columns.py",
        "[shown.index(name) for name in names]",
        "sorted(shown.index(name) for name in names)",
        "columns of new files keep the order of the file",
    ),
    Mutant(
        "estimators/rules.py",
        "velocities = self.momentum * state - falls",
        "velocities = self.momentum * state + falls",
        "the estimators' steps go uphill",
    ),
    Mutant(
        "estimators/stack.py",
        "(weights.T, random_state",
        "(weights.reshape(weights.T.shape), random_state",
        "the estimators begin with weights that are not turned",
    ),
    Mutant("estimators/following.py", "own.t_ + self._n", "own.t_ + 1", "examples seen are not counted"),
    Mutant(
        "estimators/classifier.py",
        "weights * to_numpy(sample_weight)",
        "weights",
        "class weights take the place of sample weights",
    ),
]

MUTANTS = [*CORE, *BACKENDS, *DATA, *RUNS, *MODELS, *DOORS, *CUDA, *USE]
