"""What keeps weights and gradients small: weight decay, L1, max-norm and clipping, as pure functions over trees.

`decayed` is a tree of Python bools in the structure of the parameters: which arrays are weights, on which decay, L1 and
max-norm act; the others pass as they are. `lead` is the number of leading axes: 1 for an ensemble, whose members each
have norms of their own, else 0.
"""

from typing import Any

from nn_any.core.primitives import clip
from nn_any.core.trees import per_parameter, tree_leaves, tree_map
from nn_any.core.typing import Array, Namespace, Params


def add_weight_decay(gradients: Params, params: Params, decayed: Any, weight_decay: float | Array) -> Params:
    """∇C + λ w, the gradient of C + ½ λ ‖w‖² (Nielsen, chapter 3, equation 88, whose λ/n is this λ).

    λ is a number, or an array (m,) for an ensemble whose members have their own.

    Examples
    --------
    >>> import numpy as np
    >>> params, gradients = ((np.asarray([[2.0]]), np.asarray([3.0])),), ((np.asarray([[1.0]]), np.asarray([1.0])),)
    >>> add_weight_decay(gradients, params, ((True, False),), 0.5)
    ((array([[2.]]), array([1.])),)
    """
    return _where(decayed, lambda g, w: g + per_parameter(weight_decay, w) * w, gradients, params)


def add_l1(gradients: Params, params: Params, decayed: Any, l1: float, *, xp: Namespace) -> Params:
    """∇C + λ sign(w), a gradient of C + λ ‖w‖₁ (Nielsen, chapter 3, equation 96, whose λ/n is this λ)."""
    return _where(decayed, lambda g, w: g + l1 * xp.sign(w), gradients, params)


def shrink(params: Params, decayed: Any, weight_decay: float | Array, learning_rate: Array) -> Params:
    """W - η λ w: weight decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101)."""
    return _where(decayed, lambda w: w * (1.0 - per_parameter(weight_decay * learning_rate, w)), params)


def limit_norms(params: Params, decayed: Any, max_norm: float, *, lead: int, xp: Namespace) -> Params:
    """Scale each unit's incoming weights to at most the Euclidean norm `max_norm` (Srivastava et al., JMLR 15, 2014).

    Examples
    --------
    >>> import numpy as np
    >>> limit_norms(((np.asarray([[3.0, 4.0], [0.3, 0.4]]),),), ((True,),), 1.0, lead=0, xp=np)
    ((array([[0.6, 0.8],
           [0.3, 0.4]]),),)
    """

    def limit(w: Array) -> Array:
        # units lie on axis `lead`; what is behind it is one unit's: inputs, or a kernel's height, width and channels
        axes = tuple(range(lead + 1, w.ndim))
        squares = xp.sum(w * w, axis=axes, keepdims=True) if axes else w * w
        return w * (max_norm / clip(xp.sqrt(squares), low=max_norm, xp=xp))

    return _where(decayed, limit, params)


def clip_values(gradients: Params, limit: float, *, xp: Namespace) -> Params:
    """Each entry brought within -limit … limit."""
    clipped: Params = tree_map(lambda g: clip(g, low=-limit, high=limit, xp=xp), gradients)
    return clipped


def global_norm(gradients: Params, *, lead: int, xp: Namespace) -> Array:
    """The Euclidean norm of all entries of all arrays, of which there is at least one: (), or (m,) for an ensemble."""

    def square(g: Array) -> Array:
        axes = tuple(range(lead, g.ndim))
        return xp.sum(g * g, axis=axes) if axes else g * g

    return xp.sqrt(sum(square(g) for g in tree_leaves(gradients)))


def clip_global_norm(gradients: Params, limit: float, *, lead: int, xp: Namespace) -> Params:
    """All gradients times min(1, limit / ‖∇C‖), over all arrays together (Pascanu et al., arXiv:1211.5063).

    Examples
    --------
    >>> import numpy as np
    >>> clip_global_norm(((np.asarray([3.0]), np.asarray([4.0])),), 1.0, lead=0, xp=np)[0][1].round(4)
    array([0.8])
    """
    if not any(True for _ in tree_leaves(gradients)):
        return gradients
    # the 10⁻⁶ is PyTorch's, so that a run can be compared with one there
    scale = clip(limit / (global_norm(gradients, lead=lead, xp=xp) + 1e-6), high=1.0, xp=xp)
    clipped: Params = tree_map(lambda g: per_parameter(scale, g) * g, gradients)
    return clipped


def _where(decayed: Any, function: Any, tree: Params, *others: Params) -> Params:
    """Apply `function` where `decayed` is true, and pass the arrays of `tree` where it is not."""
    changed: Params = tree_map(lambda keep, a, *b: function(a, *b) if keep else a, decayed, tree, *others)
    return changed
