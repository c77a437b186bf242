"""Few-shot algorithms, one module each: the module's name is the `algorithm` of a method.

A module has two functions, `meta_gradient` and `adapt` (see `multistep.fewshot.meta.Method`), a
docstring with its update in formulas and its cost, and a class `Options` if it needs settings that
others don't. It is imported when named, so that a cell depends on its own algorithm alone.
"""
