"""What a sweep's page shows: its numbers and its figures."""
