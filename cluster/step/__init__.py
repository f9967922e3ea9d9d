"""One exact optimizer step over several tasks, on any number of ranks."""
