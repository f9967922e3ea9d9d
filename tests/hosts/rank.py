"""`python -m tests.hosts.rank JOB` on a host: one rank of `tests.distributed.ranks`, its place given by the environment."""

import sys
from pathlib import Path

from tests.distributed.ranks import work

if __name__ == "__main__":
    work(Path(sys.argv[1]))
