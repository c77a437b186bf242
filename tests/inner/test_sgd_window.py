"""A window of SGD in one pass: the bits of torch's own operations, one after the other."""

import pytest
import torch

from multistep.inner import sgd_window
from multistep.inner.dynamics import SGD


@pytest.mark.parametrize("more", [0, 21])  # not a whole number of vectors
def test_a_pass_has_the_bits_of_its_operations(more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    b = SGD(0.4, momentum=0.9, weight_decay=1e-4).coefficients(3)
    phi, v, g, w = torch.randn(4, sgd_window.FEW + more)
    product, lam, nu = g.clone(), phi.clone(), v.clone()
    drive = g + b.weight_decay * phi  # rounded once more
    near = [phi + b.b_phi * drive + b.d_phi * v, b.d_v * v + b.b_v * drive]
    near += [product + b.c_phi * lam + b.c_v * nu, b.d_v * nu + b.d_phi * lam]
    near.append(b.b_phi * near[2] + b.b_v * near[3])
    with monkeypatch.context() as patch:
        patch.setattr(sgd_window, "FEW", 10**9)
        plain = sgd_window.ahead(b, phi, v, g) + sgd_window.back(b, product, lam, nu, w)
    torch.testing.assert_close(list(plain), near)
    kept = phi.clone(), lam.clone()
    passed = sgd_window.ahead(b, phi, v, g) + sgd_window.back(b, product, lam, nu, w)
    assert all(map(torch.equal, passed, plain))
    assert all(map(torch.equal, (phi, lam), kept))
