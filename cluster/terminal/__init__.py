"""Everything that is shown on a screen: runs, sweeps, the best trial."""
