"""Many trials of one recipe, searched with Ray Tune, in a folder that can be read and gone on with."""
