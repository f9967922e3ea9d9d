"""What is learned: tasks, data, model, sampling, loss combination, evaluation, recipes.

Usable alone, in one process or a notebook; imports neither Ray nor DeepSpeed nor Weights & Biases.
"""
