"""Files, or rows in memory, to padded batches: reading, validation, tokenised tables, order.

Example::

    table = prepare(config, "sst", "train", tokenizer, tokenizer_id(tokenizer))
    for rows in epoch_batches(table.lengths, 32, seed=config.seed, task="sst", epoch=0):
        batch = collate(table, rows, tokenizer.pad_token_id)
"""

from multitask.data.batch import Batch, collate, encode_texts
from multitask.data.check import SplitReport, TokenLengths, check
from multitask.data.column import MappedColumn
from multitask.data.encoding import Pairing, pairing_of
from multitask.data.location import resolve_location
from multitask.data.memory import MemoryTables, declare_memory, tables_from_memory
from multitask.data.memory_readers import Rows
from multitask.data.order import EpochBatches, epoch_batches
from multitask.data.prepared import Tables, check_same_rows, prepare_tables
from multitask.data.reading import ReadResult, read_split
from multitask.data.schema import BadRow
from multitask.data.table import TaskTable
from multitask.data.tokenised import prepare
from multitask.data.tokenizer import load_tokenizer, tokenizer_id

__all__ = [
    "BadRow",
    "Batch",
    "EpochBatches",
    "MappedColumn",
    "MemoryTables",
    "Pairing",
    "ReadResult",
    "Rows",
    "SplitReport",
    "Tables",
    "TaskTable",
    "TokenLengths",
    "check",
    "check_same_rows",
    "collate",
    "declare_memory",
    "encode_texts",
    "epoch_batches",
    "load_tokenizer",
    "pairing_of",
    "prepare",
    "prepare_tables",
    "read_split",
    "resolve_location",
    "tables_from_memory",
    "tokenizer_id",
]
