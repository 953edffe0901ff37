"""What an optimiser is, and the options that the built-in ones share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.core import regularization
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import number, positive, validate_fields
from nn_any.core.schedules.base import Records, Schedule, as_schedule
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Params

Objective = Callable[[np.ndarray], tuple[Any, np.ndarray]]
"""``function(x) -> (value, gradient)``, with x and the gradient (n,), float64."""


class Optimizer:
    """How gradients move the parameters. Instances must be hashable and compare by value.

    Attributes
    ----------
    learning_rate : float or Schedule
        The rate η; it reaches `update` as an array on the device.
    whole_batch : bool
        False if each step takes the gradients of a batch: training calls `update`. True if each iteration takes all
        examples and runs on the host, as that of `LBFGS` does: training calls `start` and `iterate` instead.
    weight_decay, l1 : float
        λ of the penalties ½ λ ‖w‖² and λ ‖w‖₁ on the weights: not on biases, nor on what a normalisation learns.
    max_norm : float or None
        After the step each unit's incoming weights are scaled to at most this Euclidean norm.
    clip_value, clip_norm : float or None
        First each entry of the gradients is brought within ±clip_value, then all of them together to at most the norm
        clip_norm.
    """

    learning_rate: float | Schedule
    whole_batch: bool = False
    weight_decay: float = 0.0
    l1: float = 0.0
    max_norm: float | None = None
    clip_value: float | None = None
    clip_norm: float | None = None

    @property
    def plain(self) -> bool:
        """Whether the update is w - η ∇C and nothing else, which layers may do without forming the gradients."""
        return False

    def init(self, params: Params) -> Any:
        """The state before the first step, a tree of arrays in the shapes of `params`; ``()`` if there is none.

        In an ensemble every array has one more leading axis, as the parameters have.
        """
        return ()

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """Move the parameters, without clipping and penalties: returns ``(params, state)``.

        Parameters
        ----------
        gradients, params : trees of arrays of the same shapes
        state : what `init` or the last `update` returned
        learning_rate : array, () or (m,) for an ensemble of m networks
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(gradients, state, params, learning_rate)")

    def start(self, x: np.ndarray) -> Any:
        """Return the state before the first iteration, if `whole_batch` is True.

        Parameters
        ----------
        x : NumPy array, (n,), float64
            All numbers that training changes.

        Returns
        -------
        state : named tuple of NumPy arrays
            Its fields include ``x``, ``value`` and ``gradient`` (the function's at x), and ``converged``, (), bool.
        """
        raise NotImplementedError(f"{type(self).__name__} must define start(x) if its whole_batch is True")

    def iterate(self, state: Any, function: Objective) -> Any:
        """Take one iteration and return the new state, if `whole_batch` is True.

        Parameters
        ----------
        state : what `start` or the last `iterate` returned
        function : callable
            The loss over all examples and its gradient: ``function(x) -> (value, gradient)``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define iterate(state, function) if its whole_batch is True"
        )

    def step(
        self,
        gradients: Params,
        state: Any,
        params: Params,
        learning_rate: Array,
        mask: Any,
        weight_decay: Array | None = None,
    ) -> tuple[Params, Any]:
        """Take one step of training: clip the gradients, add the penalties to them, `update`, and limit the norms.

        `mask` is a tree of Python bools in the structure of `params`: True for weights. `weight_decay`, (m,), is that
        of each member of an ensemble and replaces the optimiser's. The other arguments are those of `update`.
        """
        xp, lead = array_namespace(learning_rate), learning_rate.ndim
        if self.clip_value is not None:
            gradients = regularization.clip_values(gradients, self.clip_value, xp=xp)
        if self.clip_norm is not None:
            gradients = regularization.clip_global_norm(gradients, self.clip_norm, lead=lead, xp=xp)
        if self.l1:
            gradients = regularization.add_l1(gradients, params, mask, self.l1, xp=xp)
        if weight_decay is not None or self.weight_decay:
            decay = self.weight_decay if weight_decay is None else weight_decay
            gradients, params = self.apply_weight_decay(gradients, params, learning_rate, mask, decay)
        params, state = self.update(gradients, state, params, learning_rate)
        if self.max_norm is not None:
            params = regularization.limit_norms(params, mask, self.max_norm, lead=lead, xp=xp)
        return params, state

    def apply_weight_decay(
        self, gradients: Params, params: Params, learning_rate: Array, mask: Any, weight_decay: float | Array
    ) -> tuple[Params, Params]:
        """Apply weight decay before `update`: add λ w to the gradients. Returns ``(gradients, params)``."""
        return regularization.add_weight_decay(gradients, params, mask, weight_decay), params

    def update_rule(self) -> "Optimizer":
        """The optimiser without its learning rate, which `update` is given; equal rules share one compiled step."""
        return self

    def member(self, learning_rate: float | None, weight_decay: float | None) -> "Optimizer":
        """This optimiser for one member of an ensemble, with its own rate and weight decay; None leaves them.

        A schedule keeps its course, as `Schedule.with_rate` has it.
        """
        given: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
        if learning_rate is not None:
            own = self.learning_rate
            given["learning_rate"] = own.with_rate(learning_rate) if isinstance(own, Schedule) else learning_rate
        try:
            return replace(self, **given) if given else self  # type: ignore[type-var]
        except TypeError as error:
            raise InvalidTypeError(
                f"optimizer: expected a dataclass with fields {' and '.join(given)}, so that each member of the "
                f"ensemble can have its own, got {self!r} ({error})"
            ) from error

    def begin(self, columns: Sequence[str], own: Mapping[str, bool]) -> "Optimizer":
        """This optimiser with its schedule as `Schedule.begin` has it, in a run that records these columns."""
        if (
            not isinstance(schedule := self.learning_rate, Schedule)
            or (begun := schedule.begin(columns, own)) == schedule
        ):
            return self
        try:
            return replace(self, learning_rate=begun)  # type: ignore[type-var]
        except TypeError as error:
            raise InvalidTypeError(
                f"optimizer: expected a dataclass with a field learning_rate, got {self!r} ({error}); or say the mode "
                "of its schedule"
            ) from error

    def rates(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The learning rates of one epoch's steps, as `Schedule` has them: float64, (steps,)."""
        rates = np.asarray(as_schedule(self.learning_rate)(epoch, steps, records), dtype=np.float64)
        if rates.shape != (steps,):
            raise InvalidValueError(
                f"learning_rate: expected a schedule that gives one rate for each of {steps} steps, got shape "
                f"{rates.shape} from {self.learning_rate!r}; return an array of shape (steps,)"
            )
        return rates

    def finished(self, records: Records) -> bool:
        """Whether the schedule says that training should end."""
        return as_schedule(self.learning_rate).finished(records)


def _optional(name: str, value: Any) -> float | None:
    return None if value is None else positive(name, value)


def _rate(name: str, value: Any) -> Any:
    return value if isinstance(value, Schedule) else as_schedule(value, name).rate  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Regularized(Optimizer):
    """An optimiser that takes the options of `Optimizer` as keyword arguments, as every one here does."""

    weight_decay: float = 0.0
    l1: float = 0.0
    max_norm: float | None = None
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        validate_fields(self, learning_rate=_rate, weight_decay=number, l1=number)
        validate_fields(self, max_norm=_optional, clip_value=_optional, clip_norm=_optional)

    def update_rule(self) -> Optimizer:
        """The optimiser with learning rate 1."""
        return replace(self, learning_rate=1.0)  # type: ignore[call-arg]

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if f.default is MISSING or getattr(self, f.name) != f.default]
        values = [f"{f.name}={getattr(self, f.name)!r}" for f in sorted(shown, key=lambda f: f.kw_only is True)]
        return f"{type(self).__name__}({', '.join(values)})"


def zeros_like(params: Params) -> Any:
    """A tree of zeros in the shapes of `params`."""
    return tree_map(lambda w: array_namespace(w).zeros_like(w), params)
