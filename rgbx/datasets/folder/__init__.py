"""One's own dataset: folders of images, and a `dataset.toml` that declares what they hold."""

from rgbx.datasets.folder.dataset import DECLARATION, FolderDataset
from rgbx.datasets.folder.declaration import read_declaration

__all__ = ["DECLARATION", "FolderDataset", "read_declaration"]
