"""What the commands do, as functions that give results; they print nothing unless they are told to."""
