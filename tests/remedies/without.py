"""The places that have no remedy, and why."""

SIGNALS = {
    "AssertionError": "an invariant of the package",
    "LibraryIsFasterError": "caught: the library's own loop runs the steps",
    "NotStaticError": "caught: the program makes a general call instead",
    "UnrecordableError": "caught: the steps run eagerly, or `fall_back` names the remedy",
    "Unsuitable": "caught: the next best engine runs the steps",
    "_UnavailableError": "caught: the steps run eagerly, or `fall_back` names the remedy",
}
"""Errors that the package raises and catches itself, and failed invariants, by their classes."""

WITHOUT = {
    "backends/_cupy.py Backend.raw: CUDA finds {} GPU(s): {}": "needs a GPU; `resolve` shows it with a remedy",
    "backends/_cupy_program.py StepProgram.__init__: a step turns {} of its state into {}": (
        "caught: the step is captured as it is"
    ),
    "backends/_cupy_products.py _call: {} failed with status {} of cublasStatus_t": ("caught: the steps run eagerly"),
    "backends/in_place.py changes: a step turns {} {} of its state into {} {}": "caught: the steps run eagerly",
    "backends/replay/recorded.py Recorded.__getattr__: the standard's arrays have no attribute {}": (
        "caught: the steps run eagerly"
    ),
    "backends/survey.py survey: {}, {}, install one": "caught: `nn-any devices` shows the remedy",
    "core/layers/augmentation.py _Distortion.places: {} must define places(shape, dtype, context)": (
        "a private class; both of its kinds define it"
    ),
    "training/loop.py run_epochs.raise_if_interrupted: {} ended the training {}, {}, {}": (
        "the user has ended the run"
    ),
}
"""Other places, by their keys."""
