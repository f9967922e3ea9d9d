"""All of Weights & Biases: runs as they train, offline runs sent later, dashboards, published models, sweeps of W&B's own."""
