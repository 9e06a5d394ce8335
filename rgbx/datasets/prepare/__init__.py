"""Public datasets turned into plain files of stated units."""

from rgbx.datasets.prepare.jobs import NYUDV2_DEPTH_SCALE, DepthEncoder, cityscapes_jobs, mfnet_jobs, nyudv2_jobs
from rgbx.datasets.prepare.output import CHECKSUMS, Job, Summary, write_jobs

__all__ = [
    "CHECKSUMS",
    "NYUDV2_DEPTH_SCALE",
    "DepthEncoder",
    "Job",
    "Summary",
    "cityscapes_jobs",
    "mfnet_jobs",
    "nyudv2_jobs",
    "write_jobs",
]
