"""There are no second derivatives, and nobody is given a zero in their place."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp


def cubes(x: mp.Tensor) -> mp.Tensor:
    return (x**3).sum()


def test_create_graph_says_why_not_and_what_instead() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    with pytest.raises(
        NotImplementedError, match=r"create_graph=True, but gradients have no graph"
    ):
        cubes(x).backward(create_graph=True)


def test_a_gradient_inside_a_gradient_is_refused() -> None:
    """It would be 0: what the inner one returns has no graph."""
    x = mp.tensor([2.0])
    with pytest.raises(
        NotImplementedError, match=r"inside a function .* second derivatives: .*det"
    ):
        mp.grad(lambda x: mp.grad(cubes)(x).sum())(x)
    # Without a graph there is nothing to lose, and afterwards all is as before.
    assert mp.grad(lambda x: (mp.grad(cubes)(x.detach()) * x).sum())(x).tolist() == [12]
    assert mp.grad(cubes)(x.requires_grad_()).tolist() == [12]


def test_the_advice_is_good() -> None:
    """The Hessian of the sum of cubes is diagonal: 6x. The quotient errs by h² and by u/h."""
    x, v = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.25, -1.0])
    h = 2.0**-18
    above, below = (mp.grad(cubes)(mp.tensor(x + sign * h * v)).numpy() for sign in (1, -1))
    np.testing.assert_allclose((above - below) / (2 * h), 6 * x * v, rtol=0, atol=20 * 2.0**-35)
