"""Names that users choose from, where the command line knows them before anything heavy is imported."""

PAINTS = ("random", "class")  # of the surfaces of rendered rooms
MISSING = ("error", "skip", "allow")  # what becomes of a dataset's frames that lack a modality
PRECISIONS = ("float32", "bfloat16", "float16")
TRACKERS = ("mlflow", "wandb", "tensorboard", "clearml", "neptune", "aim", "dvclive")  # each the name of its package
CORRUPTIONS = "corruptions"  # what `--robustness` is without a name
BENCHMARKS = (CORRUPTIONS, "liao-emm", "liao-rmm", "liao-nm", "miss", "conditions", "robodepth")  # of robustness
SAVED = ("ids", "colours", "overlay", "confidence", "strip", "areas", "video")  # of predictions
DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")  # of configs
