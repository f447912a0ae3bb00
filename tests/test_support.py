"""Small parts of a run: schedule, pictures, perceptual features, allocator."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from idn.errors import OptionError, UnfitTensors, UserError
from idn.files.folders import remove_unused
from idn.hardware import keep_large_buffers
from idn.losses.perceptual_features import IdentityShallow, TimmFeatures
from idn.provenance.pictures import CAPTION_HEIGHT, label_columns, save_synthetic
from idn.provenance.watermark_search import find_mark
from idn.training.optimization.schedules import warmup_cosine
from idn.types import IdentityFeatures
from tests.raising import raises


def rates(total: int, warmup: int, floor: float, hold: float = 0.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, total, warmup, floor, hold)
    seen = []
    for _ in range(total + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_schedule_rises_then_falls_to_its_floor() -> None:
    seen = rates(100, 10, 0.1)
    assert seen[0] == pytest.approx(2 / 11) and max(seen) == seen[10] == pytest.approx(2.0)
    assert seen[100] == pytest.approx(0.2)
    assert all(a < b for a, b in itertools.pairwise(seen[:11]))
    assert all(a > b for a, b in itertools.pairwise(seen[10:]))


def test_schedule_holds_its_rate_for_the_share_after_the_rise() -> None:
    seen = rates(110, 10, 0.1, hold=0.6)
    assert seen[10:71] == pytest.approx([2.0] * 61) and seen[110] == pytest.approx(0.2)
    assert all(a > b for a, b in itertools.pairwise(seen[70:]))
    assert rates(100, 10, 0.1, hold=1.0)[100] == pytest.approx(2.0)


def test_a_run_shorter_than_its_warmup_still_reaches_the_full_rate() -> None:
    assert max(rates(10, 500, 0.0)) == pytest.approx(2.0)


def test_pictures_have_one_column_per_name_and_one_row_per_sample() -> None:
    red = torch.zeros(3, 3, 8, 8)
    red[:, 0] = 1
    picture = label_columns({"a": red, "b": torch.zeros(3, 3, 8, 8)}, gap=2)
    assert picture.shape == (CAPTION_HEIGHT + 3 * 10 + 2, 2 * 10 + 2, 3)
    assert (picture[CAPTION_HEIGHT + 4, 4] == (255, 0, 0)).all() and (picture[CAPTION_HEIGHT + 4, 14] == 0).all()


def test_written_pictures_say_that_they_are_synthetic(tmp_path: Path) -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    save_synthetic(picture, tmp_path / "deep" / "p.png", {"Step": "7"})
    with Image.open(tmp_path / "deep" / "p.png") as image:
        assert image.size == (5, 4) and image.text["Step"] == "7"
        assert image.text["DigitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
    save_synthetic(np.full((192, 256, 3), 90, np.uint8), tmp_path / "flat.png", {})
    with Image.open(tmp_path / "flat.png") as image:
        assert find_mark([np.array(image)]).found


def test_timm_features_load_strictly_and_pass_gradients(tmp_path: Path) -> None:
    reference = timm.create_model("resnet10t", pretrained=False)
    save_file(reference.state_dict(), tmp_path / "net.safetensors")
    net = TimmFeatures("resnet10t", [0, 1], tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    maps = net.train()(images, IdentityFeatures(torch.zeros(2, 1), torch.zeros(2, 1, 1, 1)))
    assert [m.shape[-1] for m in maps] == [32, 16] and not net.training
    sum(m.sum() for m in maps).backward()
    assert images.grad.abs().sum() > 0 and all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(net.net.conv1[0].weight, reference.conv1[0].weight)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with raises(UnfitTensors, "other.safetensors", "conv1.0.weight"):
        TimmFeatures("resnet10t", [0, 1], tmp_path / "other.safetensors")


def test_unknown_perceptual_model_is_said() -> None:
    with raises(OptionError, argument="model", value="resnet_of_nobody"):
        TimmFeatures("resnet_of_nobody", [0], None)


def test_a_model_of_the_hub_sees_the_numbers_that_it_was_published_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = timm.create_model
    given = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.125)}

    def hub(model: str, **options: object) -> torch.nn.Module:
        assert model == "hf_hub:someone/net"
        return publish("resnet10t", pretrained_cfg_overlay=given, **options)

    save_file(publish("resnet10t").state_dict(), tmp_path / "net.safetensors")
    monkeypatch.setattr(timm, "create_model", hub)
    net = TimmFeatures("hf_hub:someone/net", [0], tmp_path / "net.safetensors")
    images = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(given[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    seen = IdentityFeatures(torch.zeros(1, 1), torch.zeros(1, 1, 1, 1))
    torch.testing.assert_close(net(images, seen)[0], net.net((images - mean) / std)[0])


def test_shallow_maps_must_exist() -> None:
    seen = IdentityFeatures(torch.zeros(1, 1), torch.zeros(1, 1, 1, 1))
    with raises(UserError):
        IdentityShallow()(torch.rand(1, 3, 8, 8), seen)


def test_the_allocator_setting_reports_whether_it_took_effect() -> None:
    assert isinstance(keep_large_buffers(), bool)


def test_only_folders_in_which_nothing_was_done_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run/config").mkdir(parents=True)
    (tmp_path / "run/config/config.yaml").write_text("a: 1")
    remove_unused(tmp_path / "run")
    assert (tmp_path / "run/config/config.yaml").is_file()
    (tmp_path / "run/student.safetensors").touch()
    remove_unused(tmp_path / "run", ("config/*",))
    assert (tmp_path / "run/student.safetensors").is_file()
    (tmp_path / "run/student.safetensors").unlink()
    remove_unused(tmp_path / "run", ("config/*",))
    assert not (tmp_path / "run").exists()
    remove_unused(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    remove_unused(Path())
    assert tmp_path.is_dir()
