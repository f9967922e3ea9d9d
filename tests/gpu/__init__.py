"""One script for when a GPU is at hand: `python -m tests.gpu`."""
