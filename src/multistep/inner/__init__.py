"""The paper's mathematics: dynamics Φ of an inner optimiser, the unrolled loop, recomputation."""
