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
                epoch, within = run.network.epoch, run.network.snapshot.progress.unfinished is not None
                when = f"after epoch {epoch}" if len(run.history) and not within else f"in epoch {epoch + 1}"
                name = caught.signal.name
                raise TrainingInterrupted(f"{name} ended the training {when}", run.history, caught.signal)

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
            except BaseException as error:
                by_hand = not isinstance(error, KeyboardInterrupt) or caught.signal is None
                if by_hand or isinstance(error, TrainingInterrupted):  # a second signal ends at once
                    for callback in run.callbacks:
                        try:
                            callback.on_train_error(run)
                        except Exception as another:  # the others are told all the same
                            error.add_note(f"{callback!r} failed as well, in on_train_error: {another!r}")
                raise
        raise_if_interrupted()  # a signal that came in the last epoch still counts
