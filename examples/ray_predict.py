"""Predicts on a dataset of any size with Ray Data: workers on one machine or many, each with a model of its own.

    python examples/ray_predict.py CHECKPOINT DATASET --out OUT --workers 8 --gpus 1

DATASET is a folder of shards, or any other that rgbx knows, and OUT a folder; both where all machines find them. Where
RAY_ADDRESS names a cluster, its machines do the work, or else this one. Files are those of `rgbx predict --save ids`.
Ray starts again what a machine that is lost was at; a run that ended is begun again and leaves alone what is there.
"""

import argparse
from pathlib import Path

import numpy as np
import ray.data
import torch

import rgbx
from rgbx.datasets import build_dataset


class Predicting:
    """A worker: it reads frames by their numbers, and writes what the model says of them."""

    def __init__(self, checkpoint: str, data: str, split: str, out: str) -> None:
        torch.set_num_threads(1)  # a CPU is what Ray gives a worker
        self.model = rgbx.load(checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
        self.dataset, self.out = build_dataset(data, split), out

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Numbers of frames, "data" [B], to their names, and whether they were predicted now."""
        names = [self.dataset.name_of(number) for number in batch["data"].tolist()]
        there = [all(Path(self.out, head, f"{name}.png").is_file() for head in self.model.heads) for name in names]
        for number, done in zip(batch["data"].tolist(), there, strict=True):
            if not done:
                sample = self.dataset.read(number)
                known = [key for name in self.model.modalities for key in (name, f"{name}_valid") if key in sample]
                maps = {key: sample[key] for key in known}
                self.model.predict(**maps, sample_id=sample["sample_id"]).save(self.out)
        return {"name": np.array(names), "new": ~np.array(there)}


def main(words: list[str] | None = None) -> None:
    """Shares the frames among the workers, and tells how many there were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="file that all machines find")
    parser.add_argument("data", help="folder of shards or of a known layout")
    parser.add_argument("--split", default="test", help="of it (test)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--workers", type=int, default=2, help="at once (2)")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker, such as 1 or 0.25 (0)")
    parser.add_argument("--batch", type=int, default=256, help="frames that a worker takes at a time (256)")
    options = parser.parse_args(words)
    count = len(build_dataset(options.data, options.split))
    given = {"checkpoint": options.checkpoint, "data": options.data, "split": options.split, "out": options.out}
    numbers = np.array_split(np.arange(count), -(-count // options.batch))
    found = ray.data.from_numpy(numbers).map_batches(
        Predicting,
        batch_size=options.batch,
        fn_constructor_kwargs=given,
        compute=ray.data.ActorPoolStrategy(size=options.workers),
        num_cpus=1,
        num_gpus=options.gpus or None,
    )
    new = sum(int(batch["new"].sum()) for batch in found.iter_batches(batch_size=4096, batch_format="numpy"))
    print(f"{count} frames, {new} of them new: {options.out}")


if __name__ == "__main__":
    main()
