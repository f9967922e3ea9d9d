"""The plain trainer: one process, torch only."""
