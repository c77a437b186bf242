"""Few-shot learning: episodes, the task-batched network, algorithms, evaluation."""
