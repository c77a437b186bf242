"""Time and memory of our meta-iterations beside those of other libraries: `python -m bench`."""
