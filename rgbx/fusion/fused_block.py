"""What fused residual blocks share."""

from __future__ import annotations

from torch import Tensor, nn


def last_block(stage: nn.Module) -> tuple[str, nn.Module | None]:
    """Name and module of the last block of a stage; the block is None where the stage is no sequence of blocks."""
    blocks = list(stage.named_children()) if isinstance(stage, nn.Sequential) else []
    return blocks[-1] if blocks else ("", None)


class FusedBlock(nn.Module):
    """A timm residual block taken over layer by layer under the same names, for subclasses to run with exchange.

    Checkpoints of fused and unfused networks therefore fit each other.
    """

    conv1: nn.Module
    bn1: nn.Module
    act1: nn.Module
    conv2: nn.Module
    bn2: nn.Module
    act2: nn.Module
    conv3: nn.Module
    bn3: nn.Module
    act3: nn.Module
    aa: nn.Module
    drop_block: nn.Module
    se: nn.Module | None
    drop_path: nn.Module | None
    downsample: nn.Module | None

    def __init__(self, block: nn.Module, exchange: nn.Module) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        for name in ("se", "drop_path", "downsample"):
            if getattr(block, name) is None:
                setattr(self, name, None)
        self.exchange = exchange

    def add_shortcut(self, branch: Tensor, x: Tensor) -> Tensor:
        """Adds the block's shortcut to its branch, after attention and stochastic depth where the block has them."""
        if self.se is not None:
            branch = self.se(branch)
        if self.drop_path is not None:
            branch = self.drop_path(branch)
        return branch + (x if self.downsample is None else self.downsample(x))
