"""Loaders, one module each: the name of the module is the `loader` of a dataset."""

import pkgutil


def names() -> list[str]:
    """What `loader:` of a dataset can be."""
    return [module.name for module in pkgutil.iter_modules(__path__)]
