"""The tokenised tables of a run, opened on every worker of a host, made by one of them."""

import torch.distributed as dist

from multitask.config import RunConfig
from multitask.data import Tables, prepare_tables


def open_tables(config: RunConfig, first_on_host: bool) -> Tables:
    """Prepare the tables where `first_on_host`, then open them; all ranks take part.

    Raises:
        UserError: the data or the tokenizer cannot be used.
    """
    tables, problem = None, None
    if first_on_host:
        try:
            tables = prepare_tables(config)
        except Exception as error:
            problem = error
    dist.barrier()
    if problem is not None:
        raise problem
    return tables if tables is not None else prepare_tables(config)
