"""Few-shot learning: episodes, the task-batched networks, methods, evaluation."""
