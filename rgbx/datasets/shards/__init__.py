"""Shards: a dataset as tar files of whole samples, read from a disk or a URL by ranges of bytes."""

from rgbx.datasets.shards.archive import Record, ShardWriter, key_of, packed_shard, sample_id_of, write_shard
from rgbx.datasets.shards.dataset import ShardedDataset
from rgbx.datasets.shards.manifest import MANIFEST, Shard, ShardSplit, read_manifest, write_manifest
from rgbx.datasets.shards.reader import ShardReader
from rgbx.datasets.shards.store import is_url, open_store

__all__ = [
    "MANIFEST",
    "Record",
    "Shard",
    "ShardReader",
    "ShardSplit",
    "ShardWriter",
    "ShardedDataset",
    "is_url",
    "key_of",
    "open_store",
    "packed_shard",
    "read_manifest",
    "sample_id_of",
    "write_manifest",
    "write_shard",
]
