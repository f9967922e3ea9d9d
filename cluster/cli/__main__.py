"""`python -m cluster.cli`, for `torchrun -m`."""

from cluster.cli.app import main

if __name__ == "__main__":
    main()
