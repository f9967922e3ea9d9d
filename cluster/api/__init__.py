"""What the commands do, for programs: train, sweep, and what came of them."""
