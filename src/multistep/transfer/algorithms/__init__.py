"""Meta-transfer algorithms, one module each: the module's name is the `algorithm` of a method.

A module has one function, `meta_gradient(losses, theta, phi, state, lr, s)`, as
`multistep.transfer.inner.Method` has it, a constant `SOURCE` that says whether it needs a source
network, and a docstring with its update in formulas and its cost. It is imported when named, so
that a cell depends on its own algorithm alone.
"""
