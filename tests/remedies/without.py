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
    "__init__.py __getattr__: module {} has no attribute {}": "Python's own words",
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
    "estimators/base.py BaseMultilayerPerceptron._fitted_network: this {} is not fitted yet; call fit first": (
        "scikit-learn's words"
    ),
    "estimators/base.py BaseMultilayerPerceptron._fit: Solver produced non-finite parameter weights. The": (
        "scikit-learn's words"
    ),
    "estimators/base.py BaseMultilayerPerceptron._hidden_sizes: hidden_layer_sizes must be > 0, got {}.": (
        "scikit-learn's words"
    ),
    "estimators/base.py BaseMultilayerPerceptron._fit_stochastic: partial_fit does not support early_stopping=True": (
        "scikit-learn's words"
    ),
    "estimators/base.py BaseMultilayerPerceptron._fit_stochastic: The validation set is too small. Increase": (
        "scikit-learn's words"
    ),
    "estimators/base.py takes_steps: partial_fit is only available for stochastic": "scikit-learn's words",
    "estimators/classifier.py MLPClassifier._validated: warm_start can only be used where `y` has the same": (
        "scikit-learn's words"
    ),
    "estimators/classifier.py MLPClassifier._validated: `y` has classes not in `self.classes_`.": (
        "scikit-learn's words"
    ),
    "estimators/stack.py for_each_layer: The {} parameter of {} must be one for all hidden": "scikit-learn's form",
    "estimators/stack.py hidden_activations: The 'activation' parameter of {} must be a str": "scikit-learn's form",
    "estimators/stack.py dropout_rates: The 'dropout' parameter of {} must be a float in": "scikit-learn's form",
    "estimators/stack.py own_stack: The 'layers' parameter of {} must begin with a": "scikit-learn's form",
    "training/loop.py run_epochs.raise_if_interrupted: {} ended the training {}, {}, {}": (
        "the user has ended the run"
    ),
}
"""Other places, by their keys."""
