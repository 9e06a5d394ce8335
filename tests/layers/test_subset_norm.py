"""Running statistics for each subset of the modalities, against norms that saw the batches of one subset alone."""

import copy
import pickle
import threading

import pytest
import torch
from torch import Tensor, nn

from rgbx.backbones._timm import timm
from rgbx.layers import (
    ModalityNorm,
    StackLayout,
    begin_subset,
    fit_subset_statistics,
    keep_subset_statistics,
    modality_norm,
    recount_subsets,
    subset_norm,
    synchronise_norms,
)
from rgbx.models import MultimodalModel, multimodal_segmentor

NAMES = ("rgb", "depth", "thermal")
SUBSETS = [NAMES, ("rgb",), NAMES, ("rgb", "thermal"), ("rgb",), NAMES, ("rgb",), ("rgb", "thermal")]  # of steps


def kept(kind: type[nn.BatchNorm2d] = nn.BatchNorm2d, variant: str = "private") -> tuple[nn.Module, StackLayout]:
    layout = StackLayout(NAMES)
    norm = nn.Sequential(modality_norm(kind(4), layout, variant))
    keep_subset_statistics(norm.modules(), layout)
    return norm, layout


def batch(names: tuple[str, ...], step: int) -> Tensor:
    """A stack whose values differ by modality and by how many there are."""
    generator = torch.Generator().manual_seed(step)
    return torch.cat([len(names) + NAMES.index(n) + torch.randn(2, 4, 3, 5, generator=generator) for n in names])


def train(norm: nn.Module, layout: StackLayout) -> None:
    for step, names in enumerate(SUBSETS):
        begin_subset(norm.modules(), names)
        with layout.holding(names):
            norm(batch(names, step))


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, timm.layers.BatchNormAct2d])
@pytest.mark.parametrize("together", [False, True])
def test_each_subset_has_the_statistics_of_its_own_batches(
    kind: type[nn.BatchNorm2d], together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subset_norm, "FIRST", 2)
    norm, layout = kept(kind)
    if together:
        synchronise_norms(norm)
    train(norm, layout)
    # torch's own: one for each subset, whose first two batches are added to that of all modalities as it is then
    own: dict[tuple[tuple[str, ...], str], nn.BatchNorm2d] = {}
    for step, names in enumerate(SUBSETS):
        for name, part in zip(names, batch(names, step).chunk(len(names)), strict=True):
            start = own.get((NAMES, name), nn.BatchNorm2d(4))
            if names != NAMES and SUBSETS[:step].count(names) < 2:
                own[names, name] = copy.deepcopy(start)
            own.setdefault((names, name), copy.deepcopy(start))(part)
    norm.eval()
    for copied in (norm, copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        where: StackLayout = copied[0].layout
        for (names, name), theirs in own.items():
            with where.holding(names):
                mine = copied[0].norms[name]
                assert type(mine) is type(norm[0].norms[name]) and isinstance(mine, kind)
                for key in ("running_mean", "running_var"):
                    torch.testing.assert_close(getattr(mine, key), getattr(theirs, key))
                x = batch((name,), 9)
                alone = copied(torch.cat([x] * len(names))).chunk(len(names))[names.index(name)]
                plain = theirs.eval()(x)
                torch.testing.assert_close(alone, plain.relu() if kind is timm.layers.BatchNormAct2d else plain)
        with where.holding(("depth", "thermal")):  # never trained on
            assert torch.equal(copied[0].norms["depth"].running_mean, own[NAMES, "depth"].running_mean)


@pytest.mark.parametrize("variant", ["affine", "shared"])
def test_shared_statistics_are_apart_by_subset_too(variant: str) -> None:
    norm, layout = kept(variant=variant)
    train(norm, layout)
    plain = nn.BatchNorm2d(4)
    for step, names in enumerate(SUBSETS):
        if names == NAMES:
            plain(batch(names, step))
    (own,) = (each for each in norm.modules() if isinstance(each, nn.BatchNorm2d))
    assert torch.allclose(own.running_mean, plain.running_mean)
    assert set(own.subsets) == {"rgb", "depth", "thermal", "rgb__depth", "rgb__thermal", "depth__thermal"}
    assert {name for name, each in own.subsets.items() if each.begun} == {"rgb", "rgb__thermal"}


def test_frozen_norms_begin_no_subset() -> None:
    norm, layout = kept()
    norm[0].norms["rgb"].eval()
    norm[0].norms["thermal"].track_running_stats = False
    train(norm, layout)
    assert not begun(norm)


def test_what_is_forgotten_or_set_back_is_of_all_modalities_again() -> None:
    norm, layout = kept()
    before = {name: x.clone() for name, x in norm.named_buffers()}
    train(norm, layout)
    assert begun(norm)
    for name, x in norm.named_buffers():
        if ".subsets." in name:
            x.copy_(before[name])
    recount_subsets(norm.modules())
    mine = norm[0].norms["rgb"]
    with layout.holding(("rgb",)):
        assert torch.equal(mine.running_mean, mine.common("running_mean")) and mine.running_mean.any()
    train(norm, layout)
    mine.reset_running_stats()
    with layout.holding(("rgb",)):
        assert not mine.running_mean.any()


@pytest.mark.parametrize("modalities", [("rgb",), ("a", "b", "c", "d", "e")])
def test_one_or_many_modalities_are_left_alone(modalities: tuple[str, ...]) -> None:
    norm = ModalityNorm(nn.BatchNorm2d(4), StackLayout(modalities))
    keep_subset_statistics(norm.modules(), norm.layout)
    assert all(type(each) is nn.BatchNorm2d for each in norm.norms.values())


def test_threads_with_different_subsets_read_their_own() -> None:
    norm, layout = kept()
    train(norm, layout)
    norm.eval()
    found, gate = {}, threading.Barrier(2)

    def read(names: tuple[str, ...]) -> None:
        with layout.holding(names):
            gate.wait()
            found[names] = norm[0].norms["rgb"].running_mean.clone()
            gate.wait()

    threads = [threading.Thread(target=read, args=(names,)) for names in (NAMES, ("rgb",))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not torch.equal(found[NAMES], found["rgb",])


def network(dropout: float | None = 0.5) -> MultimodalModel:
    torch.manual_seed(0)
    return multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=3,
        backbone="resnet10t",
        decoder={"width": 8},
        statistics={"depth": {"mean": (2.0,), "std": (1.0,)}},
        modality_dropout=dropout,
    )


def inputs(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "rgb": torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8),
        "depth": 1 + torch.rand(2, 1, 64, 64, generator=generator),
        "label": torch.randint(0, 3, (2, 64, 64), generator=generator),
    }


def trained() -> MultimodalModel:
    model = network()
    for step in range(12):
        model(**model.data_preprocessor(inputs(step), training=True), mode="loss")
    return model.eval()


def test_a_network_predicts_by_the_statistics_of_what_it_is_given() -> None:
    model = trained()
    maps = model.data_preprocessor({name: x for name, x in inputs(9).items() if name != "label"})["inputs"]
    tensors = model.state_dict()
    assert all(x > 0 for name, x in tensors.items() if ".subsets." in name and name.endswith("num_batches_tracked"))
    for given in (("rgb",), ("depth",), ("rgb", "depth")):
        plain = network(None).eval()
        taken = {}
        for name in plain.state_dict():
            stem, _, last = name.rpartition(".")
            own = f"{stem}.subsets.{given[0]}.{last}"
            alone = len(given) == 1 and own in tensors
            taken[name] = tensors[own if alone else name]
        plain.load_state_dict(taken)
        some = {name: maps[name] for name in given}
        for name, x in plain(some).items():
            assert torch.equal(model(some)[name], x), name
    assert not torch.equal(tensors[ANY], tensors[ANY.replace(".subsets.rgb", "")])


ANY = "backbone.network.layer1.0.bn1.norms.rgb.subsets.rgb.running_mean"


def test_checkpoints_without_and_models_without_fit() -> None:
    new, old = trained().state_dict(), network(None).state_dict()
    assert set(fit_subset_statistics(new, old)) == set(old)
    filled = fit_subset_statistics(old, new)
    assert set(filled) == set(new)
    model = network()
    model.load_state_dict(filled)
    assert torch.equal(filled[ANY], old[ANY.replace(".subsets.rgb", "")])
    assert not begun(model)
    model.load_state_dict(new)
    assert begun(model)
    model.load_state_dict({name: x for name, x in old.items() if ".subsets." not in name}, strict=False)
    assert begun(model)


def test_exports_hold_the_statistics_of_their_subset() -> None:
    model, names = trained(), ("rgb",)
    maps = model.data_preprocessor({name: x for name, x in inputs(9).items() if name in names})["inputs"]

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model({"rgb": x})["rgb"]

    with torch.no_grad():
        program = torch.export.export(Alone(), (maps["rgb"],), strict=False)
        torch.testing.assert_close(program.module()(maps["rgb"]), model(maps)["rgb"])


def begun(module: nn.Module) -> list[str]:
    return [name for name, each in module.named_modules() if getattr(each, "begun", False)]
