"""The loop over epochs: who is called when, what ends it, and what happens then. No maths and no printing."""

from collections.abc import Callable
from contextlib import ExitStack

from nn_any.training.interrupts import TrainingInterrupted, catch_signals
from nn_any.training.run import TrainingRun


def run_epochs(
    run: TrainingRun, one_epoch: Callable[[Callable[[], None]], None], is_finished: Callable[[], bool]
) -> None:
    """Run one epoch after another and call the callbacks; they hear of the end, whatever ends the run.

    Ctrl-C and SIGTERM end the run at the next pause. `one_epoch` adds a record to the history, and takes the function
    that it calls at each pause; `is_finished` tells whether the optimizer has nothing left to do.
    """
    with catch_signals() as caught:

        def raise_if_interrupted() -> None:
            if caught.signal is not None:
                name, epoch = caught.signal.name, run.network.epoch
                raise TrainingInterrupted(f"{name} ended the training in epoch {epoch + 1}", run.history, caught.signal)

        def pause() -> None:
            raise_if_interrupted()
            for callback in run.callbacks:
                callback.on_pause(run)
            raise_if_interrupted()

        with ExitStack() as ends:
            try:
                for callback in run.callbacks:
                    ends.callback(callback.on_train_end, run)
                    callback.on_train_begin(run)
                run.begun, run.stop = True, run.stop or is_finished()
                while len(run.history) < run.epochs and not run.stop:
                    pause()
                    one_epoch(pause)
                    for callback in run.callbacks:
                        callback.on_epoch_end(run)
                    run.stop = run.stop or is_finished()
                    for callback in run.callbacks:
                        callback.on_pause(run)
            except (Exception, TrainingInterrupted):
                for callback in run.callbacks:
                    callback.on_train_error(run)
                raise
        raise_if_interrupted()  # a signal that came in the last epoch still counts
