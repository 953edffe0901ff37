"""What keeps weights and gradients small: weight decay, L1, max-norm and clipping, as pure functions over trees.

`mask` is a tree of Python bools in the structure of `params`: True for weights. Weight decay, L1 and max-norm act on
these and leave the other arrays as they are. `lead` is the number of leading axes: 1 for an ensemble, whose members
each have their own norms, else 0.
"""

import math
from typing import Any

from nn_any.core.primitives import clip
from nn_any.core.trees import per_parameter, tree_leaves, tree_map
from nn_any.core.typing import Array, Namespace, Params


def add_weight_decay(gradients: Params, params: Params, mask: Any, weight_decay: float | Array) -> Params:
    """∇C + λ w, the gradient of C + ½ λ ‖w‖² (Nielsen, chapter 3, equation 88, whose λ/n is this λ).

    λ is a number, or an array (m,) for an ensemble whose members have their own.

    Examples
    --------
    >>> import numpy as np
    >>> params, gradients = ((np.asarray([[2.0]]), np.asarray([3.0])),), ((np.asarray([[1.0]]), np.asarray([1.0])),)
    >>> add_weight_decay(gradients, params, ((True, False),), 0.5)
    ((array([[2.]]), array([1.])),)
    """
    return _where(mask, lambda g, w: g + per_parameter(weight_decay, w) * w, gradients, params)


def add_l1(gradients: Params, params: Params, mask: Any, l1: float, *, xp: Namespace) -> Params:
    """∇C + λ sign(w), a gradient of C + λ ‖w‖₁ (Nielsen, chapter 3, equation 96, whose λ/n is this λ)."""
    return _where(mask, lambda g, w: g + l1 * xp.sign(w), gradients, params)


def shrink(params: Params, mask: Any, weight_decay: float | Array, learning_rate: Array) -> Params:
    """w - η λ w: weight decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101)."""
    return _where(mask, lambda w: w * (1.0 - per_parameter(weight_decay * learning_rate, w)), params)


def limit_norms(params: Params, mask: Any, max_norm: float, *, lead: int, xp: Namespace) -> Params:
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
        scale = _scale(xp.max(xp.abs(w), axis=axes, keepdims=True) if axes else xp.abs(w), xp)
        w = scale * w
        norms = xp.sqrt(_squares(w, lead + 1, keepdims=True, xp=xp))
        return w * (max_norm / xp.maximum(norms, max_norm * scale))

    return _where(mask, limit, params)


def clip_values(gradients: Params, limit: float, *, xp: Namespace) -> Params:
    """Each entry brought within -limit … limit."""
    clipped: Params = tree_map(lambda g: clip(g, low=-limit, high=limit, xp=xp), gradients)
    return clipped


def global_norm(gradients: Params, *, lead: int, xp: Namespace) -> Array:
    """The Euclidean norm of all entries of all arrays, of which there is at least one: (), or (m,) for an ensemble."""
    scale, _, norm = _scaled(gradients, lead, xp)
    return norm / scale


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
    scale, scaled, norm = _scaled(gradients, lead, xp)
    factor = xp.minimum(limit / (norm + 1e-6 * scale), 1 / scale)
    clipped: Params = tree_map(lambda g: per_parameter(factor, g) * g, scaled)
    return clipped


def _scaled(gradients: Params, lead: int, xp: Namespace) -> tuple[Array, Params, Array]:
    """A scale, (), or (m,) for an ensemble; all entries times that scale; and the Euclidean norm of these."""
    largest = None
    for g in tree_leaves(gradients):
        own = xp.max(xp.abs(g), axis=tuple(range(lead, g.ndim))) if g.ndim > lead else xp.abs(g)
        largest = own if largest is None else xp.maximum(largest, own)
    scale = _scale(largest, xp)
    scaled: Params = tree_map(lambda g: per_parameter(scale, g) * g, gradients)
    return scale, scaled, xp.sqrt(sum(_squares(g, lead, keepdims=False, xp=xp) for g in tree_leaves(scaled)))


def _scale(largest: Array, xp: Namespace) -> Array:
    """A factor that brings numbers up to `largest` to where their squares neither overflow nor vanish.

    It is exactly 1 for all but extreme numbers.
    """
    limits = xp.finfo(largest.dtype)
    bound = 2.0 ** (0.375 * math.log2(limits.max))
    usual = clip(largest, low=1 / bound, high=bound, xp=xp)
    return usual / clip(largest, low=limits.smallest_normal, xp=xp)


def _squares(x: Array, first: int, *, keepdims: bool, xp: Namespace) -> Array:
    """The sum of squares over the axes from the given one on."""
    axes = tuple(range(first, x.ndim))
    return xp.sum(x * x, axis=axes, keepdims=keepdims) if axes else x * x


def _where(mask: Any, function: Any, tree: Params, *others: Params) -> Params:
    """Apply `function` where `mask` is True, and keep the arrays of `tree` elsewhere."""
    changed: Params = tree_map(lambda keep, a, *b: function(a, *b) if keep else a, mask, tree, *others)
    return changed
