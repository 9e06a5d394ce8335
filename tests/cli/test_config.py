import copy
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

import rgbx
from rgbx.cli.arguments import existing_config, parse
from rgbx.cli.checks import check_training
from rgbx.cli.config import load_config
from rgbx.cli.errors import ConfigError
from rgbx.cli.options import parse_options
from rgbx.train.optim import EncoderDecoderConstructor

CONFIGS = Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(path for path in CONFIGS.glob("*/*.py") if path.parent.name not in ("_base_", "studies"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_configs_of_the_repository_load(path):
    root = (
        None if path.stem == "mea_small_room_clips_160x120" else "/somewhere"
    )  # its clips are rendered as they are read
    config = load_config(path, data_root=root)
    assert callable(config.model.type)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert config[loader].dataset.get("root") == root
        assert config[loader].dataset.transforms[-1].type.__name__ == "PackSample"
    assert config.train_cfg.by_epoch
    copy.deepcopy(config)


def test_modern_recipe_is_what_the_papers_say():
    config = load_config(CONFIGS / "nyudv2/asymfusion_r50_nyudv2_lists.py")
    optimizer = config.optim_wrapper.optimizer
    crop = config.train_dataloader.dataset.transforms[0]
    assert (optimizer.lr, optimizer.weight_decay) == (6e-5, 0.01)
    assert (config.param_scheduler[0].end, config.param_scheduler[1].power) == (10, 0.9)
    assert (config.train_cfg.max_epochs, config.train_dataloader.batch_size) == (500, 8)
    assert (crop.size, crop.scale) == ((480, 640), (0.5, 1.75))


@pytest.mark.parametrize(("depth", "epochs"), [(101, 100), (152, 150)])
def test_the_authors_recipe_is_what_the_authors_published(depth, epochs):
    """Learning rates of the three stages, counted by the schedulers themselves; the decoder ends at 6e-4, not 7e-4."""
    config = load_config(CONFIGS / f"nyudv2/asymfusion_r{depth}_nyudv2_authors.py")
    assert config.model.backbone == f"resnet{depth}.tv_in1k"
    assert (config.model.decoder, config.model.pad_to_stride) == (
        {"name": "refinenet", "width": 256, "dropout": 0.5},
        False,
    )
    rates = config.optim_wrapper.paramwise_cfg
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rates[f"{x}_lr"]} for x in ("encoder", "decoder")])
    schedulers = [PARAM_SCHEDULERS.build({**dict(item), "optimizer": optimizer}) for item in config.param_scheduler]
    seen = []
    for _ in range(config.train_cfg.max_epochs):
        seen.append(tuple(round(group["lr"], 8) for group in optimizer.param_groups))
        for scheduler in schedulers:
            scheduler.step()
    assert seen == [(5e-4, 3e-3)] * epochs + [(2.5e-4, 1.5e-3)] * epochs + [(1e-4, 6e-4)] * epochs
    crop = config.train_dataloader.dataset.transforms[0]
    assert (crop.size, crop.scale, crop.min_short_side, crop.interpolation) == (500, (0.5, 2.0), 350, "cubic")
    assert (config.train_dataloader.batch_size, config.train_dataloader.drop_last) == (6, True)
    momentum, decay = config.optim_wrapper.optimizer.momentum, config.optim_wrapper.optimizer.weight_decay
    assert (momentum, decay, config.model.norm_eval) == (0.9, 1e-5, True)


def test_a_dumped_config_loads_again(write_config, tmp_path):
    config = load_config(write_config())
    config.dump(str(tmp_path / "dumped.py"))
    again = load_config(tmp_path / "dumped.py")
    assert again.train_dataloader.dataset.length == 8
    assert again.pretty_text == config.pretty_text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train_dataloder = dict()",
            "unknown name 'train_dataloder' at the top level; did you mean 'train_dataloader'?",
        ),
        ("crop = 3", "unknown name 'crop' at the top level .begin the names"),
        (
            "\nfrom rgbx.models import asymfusion_segmenter\nmodel.update(type=asymfusion_segmenter)",
            r"config\.py, line 6: rgbx.models has no 'asymfusion_segmenter'; did you mean "
            "'multimodal_segmentor'?",
        ),
        ("from rgbx.modelz import x\n_y = x", r"config\.py, line 5: cannot import rgbx.modelz"),
        ("model = dict(", r"config\.py, line 5: '\(' was never closed"),
        ("model.update(num_classes=colours)", r"config\.py, line 5: NameError: name 'colours' is not defined"),
        ("import os\nwork_dir = os.path.join('a', 'b')", r"config\.py, line 6: a config cannot call what it imports"),
        ("from torch import tensor\n_x = tensor(3)", r"config\.py, line 6: a config cannot call what it imports"),
        ("model.update(widht=6)", r"config\.py: model has no 'widht'; did you mean 'width'\?"),
        ("train_cfg.update(max_epoch=6)", r"config\.py: train_cfg has no 'max_epoch'; did you mean 'max_epochs'\?"),
        (
            "val_dataloader.update(bach_size=6)",
            r"config\.py: val_dataloader has no 'bach_size'; did you mean 'batch_size'",
        ),
        ("raise SystemExit(3)", r"config\.py, line 5: SystemExit: 3"),
        ("_x = " + "[" * 500, r"config\.py, line 5: .*(too many nested|was never closed)"),
    ],
)
def test_mistakes_are_named_with_their_line(write_config, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write_config(text))
    assert "\n" not in str(caught.value)


def test_mistakes_in_the_base_are_named(write_config, tmp_path):
    write_config(base="a = 1\nb = unknown + 1\n")
    with pytest.raises(ConfigError, match=r"base\.py, line 2: NameError"):
        load_config(tmp_path / "config.py")
    write_config(base="a = (\n")
    with pytest.raises(ConfigError, match=r"base\.py, line 1: '\(' was never closed"):
        load_config(tmp_path / "config.py")


def test_absent_files(write_config, tmp_path):
    write_config()
    with pytest.raises(FileNotFoundError, match=r"confg\.py does not exist; did you mean 'config.py'"):
        load_config(tmp_path / "confg.py")
    (tmp_path / "base.py").unlink()
    with pytest.raises(ConfigError, match=r"config\.py: its base config .*base\.py does not exist"):
        load_config(tmp_path / "config.py")


def test_a_misspelt_name_of_the_base(write_config, tmp_path):
    path = write_config()
    path.write_text(path.read_text().replace("import *", "import modle"))
    with pytest.raises(ConfigError, match=r"config\.py: its base config does not define 'modle'; did you mean 'model'"):
        load_config(path)


def test_a_base_of_itself(write_config, tmp_path):
    path = write_config(base="from mmengine.config import read_base\n\nwith read_base():\n    from .config import *\n")
    with pytest.raises(ConfigError, match=r"base\.py: its base config .*config\.py has this one as its base"):
        load_config(path)


def test_own_variables_begin_with_an_underscore(write_config):
    config = load_config(write_config("_width = 6\nmodel.update(width=_width)"))
    assert config.model.width == 6


def roots(config):
    return [config[f"{part}_dataloader"].dataset.root for part in ("train", "val", "test")]


def test_data_root_follows(write_config):
    """The base's datasets keep the base's value in mmengine, whatever a config says later."""
    assert roots(load_config(write_config())) == ["data/halves"] * 3
    assert roots(load_config(write_config("data_root = 'x'"))) == ["x"] * 3
    assert roots(load_config(write_config("data_root = 'x'"), data_root="y")) == ["y"] * 3
    assert roots(load_config(write_config(), options=["data_root=z"])) == ["z"] * 3
    mixed = ["data_root=z", "test_dataloader.dataset.root=w"]
    assert roots(load_config(write_config(), options=mixed)) == ["z", "z", "w"]


SHARED = """
from mmengine.dataset import pseudo_collate
from tiny import Halves

from rgbx.transforms import PackSample

dataset = dict(type=Halves, root="here", length=5, transforms=[dict(type=PackSample)])
train_dataloader = dict(batch_size=2, num_workers=1)
val_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(length=3))
test_dataloader = dict(batch_size=2, collate_fn=dict(type=pseudo_collate))
"""


def of_loaders(config, *keys):
    found = [config[f"{part}_dataloader"] for part in ("train", "val", "test")]
    for key in keys:
        found = [node.get(key) for node in found]
    return found


def test_what_loaders_share(write_config):
    config = load_config(write_config(SHARED))
    assert of_loaders(config, "dataset", "root") == ["data/halves"] * 3  # of data_root, as always
    assert of_loaders(config, "dataset", "length") == [5, 3, 5]
    assert of_loaders(config, "sampler", "shuffle") == [True, False, False]
    assert [found.__name__ for found in of_loaders(config, "sampler", "type")] == ["EpochSampler"] * 3
    collations = [found.__name__ for found in of_loaders(config, "collate_fn", "type")]
    assert collations == ["collate", "collate", "pseudo_collate"]
    assert of_loaders(config, "persistent_workers") == [True, None, None]
    assert "dataset" not in config
    config.train_dataloader.dataset.transforms.clear()  # no loader's is another's
    assert len(config.test_dataloader.dataset.transforms) == 1


def test_options_of_what_loaders_share(write_config):
    options = ["test_dataloader.dataset.length=9", "dataset.length=7", "train_dataloader.num_workers=0"]
    config = load_config(write_config(SHARED), options=options)
    assert of_loaders(config, "dataset", "length") == [7, 7, 9]
    assert of_loaders(config, "persistent_workers") == [None] * 3
    assert of_loaders(load_config(write_config(), options=["dataset.length=7"]), "dataset", "length") == [7] * 3
    with pytest.raises(ConfigError, match="dataset has no 'lenght'; did you mean 'length'"):
        load_config(write_config(SHARED), options=["dataset.lenght=7"])
    with pytest.raises(ConfigError, match=r"config\.py: dataset is 'rooms'; expected dict"):
        load_config(write_config("dataset = 'rooms'"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.width=6", 6),
        ("model.modalities=('rgb',)", ("rgb",)),
        ("model.pretrained=timm", "timm"),
        ("model.pretrained=None", None),
        ("optim_wrapper.dtype=bfloat16", "bfloat16"),
        ("optim_wrapper.optimizer.momentum=0.9", 0.9),
        ("param_scheduler.0.power=2", 2),
        ("train_dataloader.dataset.transforms.0.require=['rgb']", ["rgb"]),
        ("ema=True", True),
        ("ema.momentum=0.1", 0.1),
        ("compile.mode=default", "default"),
        ("randomness.seed=3", 3),
        ("train_dataloader.pin_memory=True", True),
        ("train_cfg.val_begin=5", 5),
    ],
)
def test_options(write_config, option, value):
    node = load_config(write_config(), options=[option])
    for key in option.partition("=")[0].split("."):
        node = node[int(key)] if key.isdecimal() else node[key]
    assert node == value
    assert type(node) is type(value)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_learning_rates_per_part_can_be_given(path):
    options = [f"optim_wrapper.paramwise_cfg.{name}" for name in ("encoder_lr=1e-4", "encoder_lr_mult=None")]
    paramwise = load_config(path, options=options).optim_wrapper.paramwise_cfg
    assert (paramwise.encoder_lr, paramwise.encoder_lr_mult) == (1e-4, None)
    EncoderDecoderConstructor(dict(optimizer=dict(type="SGD")), paramwise)._learning_rate("encoder")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("modle.width=6", "the config has no 'modle'; did you mean 'model'?"),
        ("model.widht=6", "model has no 'widht'; did you mean 'width'?"),
        ("optim_wrapper.accumulate_count=2", "did you mean 'accumulative_counts'?"),
        ("optim_wrapper.optimizer.learning_rate=1", "optim_wrapper.optimizer has no 'learning_rate'"),
        ("optim_wrapper.paramwise_cfg.encoder_mult=1", "did you mean 'encoder_lr_mult'?"),
        ("train_dataloader.batchsize=2", "did you mean 'batch_size'?"),
        ("train_dataloader.dataset.split=test", "train_dataloader.dataset has no 'split'"),
        ("randomness.diff_rank_seed=True", "randomness has no 'diff_rank_seed'"),
        ("train_cfg.max_epoch=2", "did you mean 'max_epochs'?"),
        ("param_scheduler.3.power=1", "param_scheduler is a list of 1, expected an index below"),
        ("model.num_classes.x=1", "model.num_classes is 3 and has no 'x'"),
        ("width", "takes A.B=VALUE, found 'width'"),
        ("model..width=6", "takes A.B=VALUE, found 'model..width=6'"),
        (".model=6", "takes A.B=VALUE, found '.model=6'"),
        ("model.width.=6", "takes A.B=VALUE, found 'model.width.=6'"),
        ("model.width=[1,2", "--cfg-options model.width: '[1,2' cannot be read: Imbalanced brackets"),
        ("model.width={[1]: 2}", "--cfg-options model.width: '{[1]: 2}' cannot be read: unhashable type: 'list'"),
        ("model.width=" + "(" * 99, "has too many brackets in each other"),
        ("model.width=" + "dict(a=" * 5000, "has too many brackets in each other"),
        ("model.width=" + "1" * 200_000, "is too long"),
        ("param_scheduler." + "9" * 500 + ".power=1", "expected an index below that, found '999"),
        ("dataset=3", "train_dataloader.dataset is 3; expected dict(type=..., ...)"),
        ("model=3", "config.py: model is 3; expected dict"),
        ("model.type=3", "config.py: model is of type 3; expected dict(type=..., ...) of a class or builder"),
        ("train_cfg=3", "config.py: train_cfg is 3; expected dict"),
        ("custom_hooks=3", "config.py: custom_hooks is 3; expected list or tuple"),
        ("default_hooks.checkpoint=3", "config.py: default_hooks.checkpoint is 3; expected dict(type=..., ...)"),
    ],
)
def test_options_that_nothing_would_read(write_config, option, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(write_config(), options=[option])


def test_option_values():
    assert parse_options(["a=1e-3", "b=true", "c=a,b", "d=[1, 2]", "e=x=y"]) == {
        "a": 1e-3,
        "b": True,
        "c": ["a", "b"],
        "d": [1, 2],
        "e": "x=y",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lighter(name='light', width=16)", "its brackets stand in a word"),
        ("[" + "a," * 5000 + "b]", "10003 characters that are no Python literal"),
        ("(a, b", "Imbalanced brackets"),
    ],
)
def test_words_that_nobody_can_take_apart(text, message):
    with pytest.raises(ConfigError, match=rf"--cfg-options model\.decoder: .* cannot be read: {message}"):
        parse_options([f"model.decoder={text}"])


def test_dicts_in_options():
    """As in configs, or as literals; what is neither stays a string."""
    nested = {"thermal": {"low": 14, "high": 30.5}, "names": ("a", [1])}
    assert parse_options(["a=dict(thermal=dict(low=14, high=30.5), names=('a', [1]))", f"b={nested}"]) == {
        "a": nested,
        "b": nested,
    }
    for text in ("dict(1)", "dict(**x)", "list(a=1)", "{**x}"):
        assert parse_options([f"a={text}"]) == {"a": text}


def test_loading_leaves_mmengine_as_it_was(write_config, tmp_path):
    load_config(write_config())
    plain = tmp_path / "plain.py"
    plain.write_text("a = dict(b=1)\n")
    assert Config.fromfile(plain).a.b == 1


def test_modules_of_the_user_are_imported(write_config, tmp_path, monkeypatch):
    (tmp_path / "mine_to_import.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_to_import", raising=False)
    load_config(write_config("custom_imports = dict(imports=['mine_to_import'])"))
    assert sys.modules.pop("mine_to_import").VALUE == 7
    load_config(write_config())
    assert "mine_to_import" not in sys.modules


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dict(imports=['nowhere_at_all'])", "cannot import nowhere_at_all: .*PYTHONPATH"),
        ("dict(imports='json')", r"expected dict\(imports="),
        ("dict(import_=['json'])", r"expected dict\(imports="),
        ("['json']", r"expected dict\(imports="),
    ],
)
def test_custom_imports_are_checked(write_config, value, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(f"custom_imports = {value}"))


def test_files_that_are_no_text(write_config, tmp_path):
    path = write_config()
    path.write_bytes(path.read_bytes() + "# Größe".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"config\.py: it is not UTF-8 \(.* at byte \d+\)"):
        load_config(path)
    path.write_bytes(b"a = 1\0")
    with pytest.raises(ConfigError, match=r"config\.py, line 1: .*null bytes"):
        load_config(path)
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ValueError, match=r"config .*pipe\.py: expected a file, found a named pipe"):
        load_config(tmp_path / "pipe.py")


@pytest.mark.parametrize("broken", ["x = (", "raise RuntimeError('no licence')", "raise SystemExit", "1 / 0"])
def test_modules_that_cannot_be_imported(write_config, tmp_path, monkeypatch, broken):
    (tmp_path / "broken_module.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    for text in ("custom_imports = dict(imports=['broken_module'])", "from broken_module import x\n_y = x"):
        monkeypatch.delitem(sys.modules, "broken_module", raising=False)
        with pytest.raises(ConfigError, match=r"import.*broken_module"):
            load_config(write_config(text))


CACHED = """
from rgbx.datasets import CachedFrames

train_dataloader.update(dataset=dict(type=CachedFrames, memory_gib=1, dataset=dict(length=9)))
"""


def test_a_dataset_in_another_one_shares_too(write_config):
    """The wrapper of one loader, or of all of them, is given nothing that is of the dataset inside."""
    config = load_config(write_config(SHARED + CACHED), options=["test_dataloader.dataset.length=4"])
    wrapper = config.train_dataloader.dataset
    assert sorted(dict.keys(wrapper)) == ["dataset", "memory_gib", "type"]
    assert (wrapper.dataset.length, wrapper.dataset.root, wrapper.dataset.type.__name__) == (9, "data/halves", "Halves")
    assert [config[f"{part}_dataloader"].dataset.length for part in ("val", "test")] == [3, 4]
    around = SHARED.replace("dataset = dict(type=Halves", "dataset = dict(type=CachedFrames, dataset=dict(type=Halves")
    around = around.replace("[dict(type=PackSample)])\n", "[dict(type=PackSample)]))\n", 1)
    config = load_config(
        write_config(around.replace("from rgbx.tr", "from rgbx.datasets import CachedFrames\nfrom rgbx.tr"))
    )
    assert [found.__name__ for found in of_loaders(config, "dataset", "type")] == ["CachedFrames"] * 3
    assert of_loaders(config, "dataset", "dataset", "length") == [5, 3, 5]
    assert of_loaders(config, "dataset", "length") == [None] * 3


def test_arguments_that_a_class_tells_by_a_typed_dict():
    rooms = CONFIGS / "rooms/asymfusion_r18_rooms_160x120.py"
    with pytest.raises(ConfigError, match="has no 'num_frame'; did you mean 'num_frames'"):
        load_config(rooms, options=["dataset.num_frame=3"])
    config = load_config(rooms, options=["dataset.num_frames=3", "dataset.transforms=[]"])
    assert of_loaders(config, "dataset", "num_frames") == [3] * 3


def test_workers_that_there_are_not_are_asked_for_nothing(write_config):
    text = "train_dataloader.update(num_workers=0, persistent_workers=True, prefetch_factor=4)"
    loader = load_config(write_config(text)).train_dataloader
    assert "persistent_workers" not in loader and "prefetch_factor" not in loader


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["param_scheduler.0.begin=2"],
            r"param_scheduler\.0 begins after 2 epochs, but train_cfg\.max_epochs is 2: the run",
        ),
        (["train_cfg.max_epochs=0"], r"train_cfg\.max_epochs is 0; expected a whole number from 1 on"),
        (["train_cfg.max_epochs=many"], r"train_cfg\.max_epochs is 'many'"),
        (["train_cfg.val_interval=-1"], r"train_cfg\.val_interval is -1"),
        (
            ["train_dataloader=None", "train_cfg=None", "optim_wrapper=None"],
            "it has nothing to train, as it lacks train_d",
        ),
        (["optim_wrapper=None"], "it has nothing to train, as it lacks optim_wrapper"),
        (["test_cfg=None"], "it has test_dataloader, test_evaluator but no test_cfg, which belongs to them"),
    ],
)
def test_plans_that_cannot_be_carried_out(write_config, options, message):
    with pytest.raises(ConfigError, match=rf"config\.py: {message}"):
        check_training(load_config(write_config(), options=options), "config.py")


@pytest.mark.parametrize(
    ("option", "warning"),
    [
        ("train_cfg.val_interval=5", "train_cfg.val_interval is 5, max_epochs 2: only the last epoch is validated"),
        ("train_cfg.val_begin=5", "val_begin is 5, max_epochs 2: nothing is validated, and no best is kept"),
        ("param_scheduler.0.end=9", "param_scheduler.0 ends after 9 epochs, train_cfg.max_epochs is 2: it is cut off"),
        ("train_cfg.max_epochs=3", None),
    ],
)
def test_what_is_planned_in_vain_is_told(write_config, option, warning):
    found = check_training(load_config(write_config(), options=[option]), "config.py")
    assert len(found) == (warning is not None) and all(text.endswith(warning) for text in found)


@pytest.fixture(params=["checkout", "installed"])
def shipped(request, tmp_path, monkeypatch):
    """The folder of rgbx's configs: beside the package, and where a wheel has them."""
    if request.param == "installed":
        package = tmp_path / "lib/rgbx"
        shutil.copytree(CONFIGS, package / "configs")
        monkeypatch.setattr(rgbx, "__file__", str(package / "__init__.py"))
        return package / "configs"
    return CONFIGS


def test_bases_of_the_package(shipped, tmp_path):
    """A config of any folder has those of rgbx as its bases."""
    mine = tmp_path / "mine.py"
    start = "from mmengine.config import read_base\n\nwith read_base():\n    from rgbx.configs.rooms.{} import *\n"
    mine.write_text(f"{start.format('asymfusion_r18_rooms_160x120')}\ntrain_cfg.update(max_epochs=3)\n")
    found = load_config(mine)
    expected = load_config(shipped / "rooms/asymfusion_r18_rooms_160x120.py", options=["train_cfg.max_epochs=3"])
    assert found.to_dict() == expected.to_dict()
    mine.write_text(start.format("asymfusion_r18_rooms_160x12"))
    near = r"160x12\.py does not exist; did you mean 'asymfusion_r18_rooms_160x120\.py'"
    with pytest.raises(ConfigError, match=re.escape(str(shipped)) + ".*" + near):
        load_config(mine)
    mine.write_text(start.format("x").replace("rgbx", "no_such_package"))
    with pytest.raises(ConfigError, match="'no_such_package', which is no installed package"):
        load_config(mine)


def test_configs_of_the_package_by_their_name(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = shipped / "rooms/asymfusion_r18_rooms_160x120.py"
    for name in ("rooms/asymfusion_r18_rooms_160x120", "configs/rooms/asymfusion_r18_rooms_160x120.py"):
        assert existing_config(name) == file and parse("train", [name]).config == str(file)
    with pytest.raises(FileNotFoundError, match=r"did you mean 'rooms/asymfusion_r18_rooms_160x120\.py'"):
        existing_config("rooms/asymfusion_r18_rooms_160x12")
    own = tmp_path / "configs/rooms/asymfusion_r18_rooms_160x120.py"
    own.parent.mkdir(parents=True)
    own.touch()
    assert existing_config("configs/rooms/asymfusion_r18_rooms_160x120.py").resolve() == own.resolve()
