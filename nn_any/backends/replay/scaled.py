"""Inputs that are only multiplied by a number before they meet weights: the products are multiplied instead.

``(s x) W^T`` is ``s (x W^T)``; most BLAS multiply a product by a number for nothing, and without them products are
smaller than inputs. So pixels go into the product as they are stored, and no pass over a batch scales them. Only small
whole numbers do so, since products of others might overflow where those of scaled ones do not.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nn_any.backends.replay.nodes import Node

_SCALED = {"affine": 0, "sgd_update": 2}  # the calls that take a factor, and which argument it is for
_FACTORS = 2.0**-20, 2.0**20


def move_scales(body: list[Node], users: Mapping[Node, list[Node]], kept: set[Node]) -> list[Node]:
    """The calls of a step, some of them changed, without those that only scale what products read.

    These products have the factor as ``scale=``. `users` are the calls that read each array, and `kept` is what others
    than the body read.
    """
    made, left_out = set(body), set()
    for node in body:
        x, factor = _scaling(node)
        if x not in made or users[x] != [node] or x.layout != node.layout or not _is_small(x.root):
            continue
        views, products = _readers(node, users)
        if not kept.isdisjoint(views) or not products or not all(_takes_factor(call, views) for call in products):
            continue
        for call in products:
            call.kwargs["scale"] = factor
            call.function = _scaled(call.function, _SCALED[call.name])
        for reader in (*views[1:], *products):
            reader.args = tuple([x if arg is node else arg for arg in reader.args])
            reader.source = x if reader.source is node else reader.source
        left_out.add(node)
    return [node for node in body if node not in left_out]


def _scaling(node: Node) -> tuple[Any, float]:
    """What a call multiplies by one number, or divides by it, and the factor; None and 0.0 if it does neither."""
    ufunc = node.ufunc
    if ufunc not in (np.multiply, np.divide) or node.layout.dtype.kind != "f":
        return None, 0.0
    x, number = node.args
    if ufunc is np.multiply and not isinstance(x, Node):
        x, number = number, x
    number = number.fill if isinstance(number, Node) else number
    if not isinstance(number, int | float) or not _FACTORS[0] < abs(number) < _FACTORS[1]:
        return None, 0.0
    return x, float(number if ufunc is np.multiply else 1 / number)


def _is_small(node: Node) -> bool:
    """Whether its values are whole numbers of one or two bytes, as reals of four or more."""
    cast = node.name == "astype" and node.layout.dtype.itemsize >= 4
    return cast and all(i.layout.dtype.kind in "iu" and i.layout.dtype.itemsize <= 2 for i in node.inputs())


def _readers(node: Node, users: Mapping[Node, list[Node]]) -> tuple[list[Node], list[Node]]:
    """A node and its views; and the other calls that read any of them."""
    views, products = [node], list[Node]()
    for view in views:
        for user in users.get(view, []):
            (views if user.source is view else products).append(user)
    return views, products


def _takes_factor(call: Node, views: list[Node]) -> bool:
    """Whether it is a product of three arguments, of which only the one that may have a factor is among `views`."""
    at = _SCALED.get(call.name)
    return len(call.args) == 3 and not call.kwargs and [i for i, arg in enumerate(call.args) if arg in views] == [at]


def _scaled(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The product of three arguments, with a factor for one of them."""

    def product(*args: Any, scale: float) -> Any:
        return function(*[arg * scale if i == at else arg for i, arg in enumerate(args)])

    return product
