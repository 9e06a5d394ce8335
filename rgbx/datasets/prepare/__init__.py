"""Public datasets turned into plain files of stated units."""

from rgbx.datasets.prepare.estimate import Estimate, write_estimate
from rgbx.datasets.prepare.jobs import (
    DepthEncoder,
    cityscapes_preparation,
    mfnet_preparation,
    nyudv2_preparation,
)
from rgbx.datasets.prepare.notes import CHECKSUMS, RECORD
from rgbx.datasets.prepare.output import Content, Job, Preparation, Summary, write_preparation
from rgbx.datasets.prepare.resized import Resizing, write_resized
from rgbx.datasets.prepare.shards import SHARD_MB, write_shards

__all__ = [
    "CHECKSUMS",
    "RECORD",
    "SHARD_MB",
    "Content",
    "DepthEncoder",
    "Estimate",
    "Job",
    "Preparation",
    "Resizing",
    "Summary",
    "cityscapes_preparation",
    "mfnet_preparation",
    "nyudv2_preparation",
    "write_estimate",
    "write_preparation",
    "write_resized",
    "write_shards",
]
