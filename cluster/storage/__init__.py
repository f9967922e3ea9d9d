"""What survives a kill: run folders, checkpoints and exports, on a disk or in an object store."""
