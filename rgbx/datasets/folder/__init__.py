"""One's own dataset: folders of images, and a `dataset.toml` that declares what they hold."""

from rgbx.datasets.folder.dataset import DECLARATION, FolderDataset

__all__ = ["DECLARATION", "FolderDataset"]
