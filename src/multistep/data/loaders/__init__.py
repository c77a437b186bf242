"""Loaders, one module each: the name of the module is the `loader` of a dataset."""
