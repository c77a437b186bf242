"""A device in a few minutes: checked, measured, and the rest of the time spent on training.

`python -m bench --device cuda --minutes 12` needs nothing but an environment with torch for CUDA
and this package's dependencies, and no network once Omniglot is prepared. The minutes are shared
out to parts, which stop by the clock; all that was done is in the record and its page after every
step, and the same command goes on where it was.
"""
