"""Where the time of a run's steps goes."""
