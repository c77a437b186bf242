"""Reference reproduction of "Multi-step Estimation for Gradient-based Meta-learning"."""

__version__ = "0.1.0"
