#!/usr/bin/env bash
# torchopt 0.7.3 (torch 2.13.0, CPU, float64): `torchopt.diff.zero_order`, gradients from values alone as
# evolution strategies and ES-MAML estimate them, with its three methods and a `sigma` other than 1.
#
# Behaviour: `naive` and `antithetic` are the estimators they are named after. `forward` is not, twice.
# (1) It multiplies by sigma where the others divide: it gives sigma * (f(x + sigma z) - f(x)) * z, that is,
# sigma² times the right gradient, a hundredth at 0.1. A learner then goes at a rate that nobody set, and
# who compares the methods, or sigmas, compares rates. (2) With `num_samples` above 1 each sample takes off
# the *previous* sample's difference instead of f(x). The mean is right up to the factor, but the spread is
# nearly that of `naive`, which the method is there to take off. At the defaults, sigma = 1 and one
# sample, it is right. `torchopt.nn.ZeroOrderGradientModule` does the same.
#
# Seen, estimate over the formula's value with the same z; for ten samples at 0.1, the standard deviation
# of 500 estimates (over the factor) beside the formula's, first of three parameters:
#   sigma          1        0.1       0.01     ten samples
#   naive         1.0000    1.0000    1.0000   25.6 (formula 25.4)
#   forward       1.0000    0.0100    0.0001   18.2 (formula 2.7)
#   antithetic    1.0000    1.0000    1.0000   2.5 (formula 2.7)
#   module, forward at 0.1:  0.0100
#
# Fails if one of the ratios changes, or the spread of `forward` becomes the formula's.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'torchopt==0.7.3' numpy \
  2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/estimates.py" <<'PY'
import torch
import torchopt

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
x = torch.tensor([1.0, -2.0, 0.5])
f = lambda x: x.square().sum() + 3 * x[0]
z = torch.tensor([0.3, -1.1, 0.7])
formulas = {
    "naive": lambda s, z: f(x + s * z) / s * z,
    "forward": lambda s, z: (f(x + s * z) - f(x)) / s * z,
    "antithetic": lambda s, z: (f(x + s * z) - f(x - s * z)) / (2 * s) * z,
}


def estimate(method, sigma, draw, samples=1):
    g = torchopt.diff.zero_order(draw, method=method, argnums=0, num_samples=samples, sigma=sigma)(f)
    at = x.clone().requires_grad_()
    return torch.autograd.grad(g(at), at)[0]


def spread(method, formula):
    """Standard deviation of estimates of ten samples at sigma = 0.1: torchopt's, the formula's."""
    torch.manual_seed(0)
    theirs = torch.stack([estimate(method, 0.1, torch.randn, samples=10) for _ in range(500)])
    right = torch.stack([torch.stack([formula(0.1, torch.randn(3)) for _ in range(10)]).mean(0) for _ in range(500)])
    return theirs.std(0)[0].item(), right.std(0)[0].item()


class Module(torchopt.nn.ZeroOrderGradientModule, method="forward", num_samples=1, sigma=0.1):
    def __init__(self):
        super().__init__()
        self.x = torch.nn.Parameter(x.clone())

    def sample(self, sample_shape=torch.Size()):
        return z

    def forward(self):
        return f(self.x)


print("torch", torch.__version__, "torchopt", torchopt.__version__)
print("  sigma          1        0.1       0.01     ten samples")
for method, formula in formulas.items():
    ratios = [estimate(method, s, lambda shape: z) / formula(s, z) for s in (1.0, 0.1, 0.01)]
    right = [1.0, 0.01, 0.0001] if method == "forward" else [1.0, 1.0, 1.0]
    theirs, formulas_own = spread(method, formula)
    theirs /= right[1]
    told = f"{theirs:.1f} (formula {formulas_own:.1f})"
    print(f"  {method:12}", " ".join(f"{r[0].item():7.4f}  " for r in ratios), told)
    for ratio, value in zip(ratios, right):
        torch.testing.assert_close(ratio, torch.full_like(ratio, value), rtol=1e-9, atol=0)
    assert theirs > 5 * formulas_own if method == "forward" else abs(theirs / formulas_own - 1) < 0.2
# two samples by hand: the second takes off the first one's difference
draws = [z, z.flip(0)]
pair = iter(draws)
first, second = (f(x + 0.1 * d) for d in draws)
by_hand = 0.1 * ((first - f(x)) * draws[0] + (second - (first - f(x))) * draws[1]) / 2
torch.testing.assert_close(estimate("forward", 0.1, lambda shape: next(pair), samples=2), by_hand)
module = Module()
(found,) = torch.autograd.grad(module(), module.x)
ratio = found / formulas["forward"](0.1, z)
print(f"  module, forward at 0.1:  {ratio[0].item():.4f}")
torch.testing.assert_close(ratio, torch.full_like(ratio, 0.01), rtol=1e-9, atol=0)
PY
"$dir/env/bin/python" -W ignore "$dir/estimates.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
