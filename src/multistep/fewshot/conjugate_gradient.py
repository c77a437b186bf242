"""Conjugate gradients for one symmetric system per task, all tasks at once.

    from x = 0, r = p = b:   a = rᵀr / pᵀAp,  x ← x + a p,  r' = r - a A p,
                             p ← r' + (r'ᵀr' / rᵀr) p,  r ← r'

(Hestenes and Stiefel 1952). After k steps x is the best solution in the Krylov space of order k.
"""

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, dot: Callable[[Tensor, Tensor], Tensor],
    scale: Callable[[Tensor, Tensor], Tensor], steps: int, *, tolerance: float | None = None,
) -> Tensor:  # fmt: skip
    """The x of A x = b for every task, after at most `steps` products.

    `product(v)`: A v. `dot(u, v)`: the tasks' inner products `[tasks]`; `scale(v, factors)`: each
    task's part of v times its factor. These two alone know how a vector holds its tasks.

    A task is finished where ‖r‖ ≤ tolerance ‖b‖ (by default the rounding error of the data type),
    and where pᵀAp ≤ 0: there A is not positive definite and the next step would go to infinity. If
    that is its first direction, b itself, its x is zero. Finished tasks take part in all that is
    computed with factors of zero, so that a CUDA graph can hold the loop.
    """
    tolerance = torch.finfo(b.dtype).eps if tolerance is None else tolerance
    x, r, p = torch.zeros_like(b), b, b
    rr = dot(r, r)
    enough = tolerance**2 * rr
    active = torch.ones_like(rr, dtype=torch.bool)
    for _ in range(steps):
        ap = product(p)
        curvature = dot(p, ap)
        active = active & (rr > enough) & (curvature > 0)
        length = _ratio(rr, curvature, active)
        x = x + scale(p, length)
        r = r - scale(ap, length)
        old, rr = rr, dot(r, r)
        p = r + scale(p, _ratio(rr, old, active))
    return x


def _ratio(a: Tensor, b: Tensor, active: Tensor) -> Tensor:
    """The ratio where active, else 0."""
    return torch.where(active, a, 0) / torch.where(active, b, 1)
