"""What W&B holds of a sweep beyond its runs as they train: offline runs sent later, dashboards, published models."""
