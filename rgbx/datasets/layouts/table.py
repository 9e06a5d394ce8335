"""The layouts that can be recognised.

A further layout is one `Layout` in `LAYOUTS`: what it looks like, a function that gives the evidence for it (see
`rgbx.datasets.layouts.evidence`), and what builds the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._text import one_of
from rgbx.datasets.declaration import read_declaration
from rgbx.datasets.families.cityscapes import Cityscapes
from rgbx.datasets.families.deliver import DELIVER
from rgbx.datasets.families.fmb import FMB
from rgbx.datasets.families.mfnet import ALL, MFNet
from rgbx.datasets.families.nyudv2 import NYUDv2CMX, NYUDv2ESANet, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.families.pst900 import PST900
from rgbx.datasets.families.side_by_side import SideBySide
from rgbx.datasets.families.sunrgbd import SUNRGBD, SUNRGBDFolders, SUNRGBDLists
from rgbx.datasets.families.sunrgbd_scenes import SUNRGBDScenes
from rgbx.datasets.families.taskonomy import Taskonomy
from rgbx.datasets.families.visible_infrared import VisibleInfrared, visible_infrared
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.layouts import evidence
from rgbx.datasets.layouts.evidence import SPLITS
from rgbx.datasets.rooms import MANIFEST, SyntheticRooms
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.shards.dataset import ShardedDataset
from rgbx.datasets.shards.manifest import MANIFEST as SHARDS
from rgbx.datasets.shards.manifest import read_manifest


@dataclass(frozen=True)
class Layout:
    """A layout that can be recognised.

    Attributes:
        name: the dataset, for messages.
        shape: what it looks like, for messages.
        evidence: what in a folder speaks for it; an empty list where it is not this layout.
        build: called as `build(root, split, **options)`.
        splits: names that `build` may take for a folder of this layout; one of them may still be absent.
    """

    name: str
    shape: str
    evidence: Callable[[Path], list[str]]
    build: Callable[..., DenseDataset]
    splits: Callable[[Path], Sequence[str]] = lambda root: SPLITS


def _from_list(kind: Callable[..., DenseDataset]) -> Callable[..., DenseDataset]:
    return lambda root, split="train", **options: kind(root, f"{split}.txt", **options)


def _listed_splits(root: Path) -> list[str]:
    return [name for name in SPLITS if (root / f"{name}.txt").is_file()]


def _pair_splits(root: Path) -> tuple[str, ...]:
    declared = visible_infrared(root)
    return tuple(declared.splits) if declared else ()


def _rendered_rooms(root: str | Path, split: str = "train", **options: Any) -> DenseDataset:
    manifest = evidence.rooms_manifest(Path(root))
    if split not in manifest["splits"]:
        raise ValueError(f"{root}: found split {split!r}; expected one of {one_of(manifest['splits'], split)}")
    fixed = {"seed": manifest["seed"], "size": tuple(manifest["size"]), "paints": manifest.get("paints", "random")}
    return SyntheticRooms(root=root, split=split, **fixed, **options)


DECLARED = Layout(
    "your own dataset",
    f"a {DECLARATION}",
    evidence.declared,
    FolderDataset,
    lambda root: tuple(read_declaration(root / DECLARATION).splits),
)
SHARDED = Layout(
    "ShardedDataset",
    f"the {SHARDS} of rgbx prepare shards",
    evidence.sharded,
    ShardedDataset,
    lambda root: tuple(read_manifest(root)),
)
LAYOUTS: tuple[Layout, ...] = (
    DECLARED,
    SHARDED,
    Layout(
        "NYUDv2Lists",
        "{train,val}.txt with tab-separated columns rgb, masks, depth",
        evidence.nyudv2_lists,
        _from_list(NYUDv2Lists),
        _listed_splits,
    ),
    Layout(
        "SUNRGBDLists",
        "{train,test}.txt with tab-separated columns rgb, masks, depth, void as 0",
        evidence.sunrgbd_lists,
        _from_list(SUNRGBDLists),
        _listed_splits,
    ),
    Layout(
        "NYUDv2CMX", "RGB/, Depth/, HHA/, Label/ and lists of names", evidence.cmx("Label", by_split=False), NYUDv2CMX
    ),
    Layout(
        "SUNRGBD",
        "RGB/, Depth/, HHA/, labels/ and lists of train_0 ...",
        evidence.cmx("labels", by_split=True),
        SUNRGBD,
    ),
    Layout(
        "SUNRGBDFolders",
        "image/, depth/, depth_bfx/, label37/",
        evidence.folders_of(SUNRGBDFolders.declaration, "rgb", "label"),
        SUNRGBDFolders,
        lambda root: ("all",),
    ),
    Layout(
        "SUNRGBDScenes",
        "SUNRGBD/{kv1,kv2,realsense,xtion}/ with a folder per scene, SUNRGBDtoolbox/",
        evidence.sunrgbd_scenes,
        SUNRGBDScenes,
        lambda root: (
            ("train", "test") if any((at / "SUNRGBDtoolbox").is_dir() for at in (root, root.parent)) else ("all",)
        ),
    ),
    Layout(
        "NYUDv2ESANet",
        "{train,test}/{rgb,depth,depth_raw,labels_40}/",
        evidence.folders_of(NYUDv2ESANet.declaration, "rgb", "label"),
        NYUDv2ESANet,
    ),
    Layout(
        "NYUDv2Mat",
        "nyu_depth_v2_labeled.mat",
        lambda root: ["it has nyu_depth_v2_labeled.mat"] if (root / "nyu_depth_v2_labeled.mat").is_file() else [],
        NYUDv2Mat,
    ),
    Layout("NYUDv2Folders", "rgb/, depth/, label/ and lists of stems", evidence.nyudv2_folders, NYUDv2Folders),
    Layout(
        "Cityscapes",
        "{leftImg8bit,gtFine,disparity,camera}/{split}/{city}/",
        lambda root: evidence.has_folders(root, "leftImg8bit", "gtFine"),
        Cityscapes,
    ),
    Layout(
        "MFNet",
        "images/ (or image/) of four channels and labels/, RGB/Modal/Label, or rgb/ther/labels",
        evidence.mfnet,
        MFNet,
        lambda root: _listed_splits(root) or (ALL,),
    ),
    Layout("FMB", "{train,test}/{Visible,Infrared,Label}/", evidence.folders_of(FMB.declaration), FMB),
    Layout("PST900", "{train,test}/{rgb,thermal,labels}/", evidence.folders_of(PST900.declaration), PST900),
    Layout(
        "VisibleInfrared",
        "vi/ and ir/, Vis/ and Ir/, or visible/ and infrared/, flat, in {train,test}/ or around it",
        evidence.pairs,
        VisibleInfrared,
        _pair_splits,
    ),
    Layout("DELIVER", "{img,hha,depth,lidar,event,semantic}/{weather}/{split}/MAP_*/", evidence.deliver, DELIVER),
    Layout("Taskonomy", "{domain}/point_*_view_*_domain_{domain}.png", evidence.taskonomy, Taskonomy),
    Layout(
        "SyntheticRooms",
        f"{{train,test}}/ and the {MANIFEST} of rgbx render-rooms",
        evidence.rendered_rooms,
        _rendered_rooms,
        lambda root: tuple(evidence.rooms_manifest(root)["splits"]),
    ),
    Layout(
        "SideBySide", "{split}/ of images twice as wide as high, A left and B right", evidence.side_by_side, SideBySide
    ),
)
