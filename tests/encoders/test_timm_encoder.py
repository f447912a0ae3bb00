import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from idn.encoders.timm_encoder import TimmEncoder
from idn.errors import OptionError, UnfitTensors
from tests.raising import raises

TEMPLATE = "arcface_112_v2"


def _saved(model, options, path):
    torch.manual_seed(0)
    net = timm.create_model(model, pretrained=False, **options).eval()
    save_file(net.state_dict(), path)
    return net


VIT = ("test_vit", {"num_classes": 24, "img_size": 112, "patch_size": 8})
CNN = ("test_resnet", {"num_classes": 24})
NHWC = ("swin_tiny_patch4_window7_224", {"num_classes": 8, "embed_dim": 12, "depths": (1, 1, 1, 1), "img_size": 224})


@pytest.mark.parametrize(("case", "size"), [(VIT, 112), (CNN, 112), (NHWC, 224)], ids=["vit", "cnn", "channels_last"])
def test_the_embedding_is_the_models_own_output(case, size, tmp_path):
    model, options = case
    net = _saved(model, options, tmp_path / "net.safetensors")
    encoder = TimmEncoder(
        model,
        tmp_path / "net.safetensors",
        TEMPLATE,
        input_size=size,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        options=options,
    )
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        seen, expected = encoder(images), net((images - 0.5) / 0.25)
    torch.testing.assert_close(seen.embedding, F.normalize(expected, dim=1), atol=1e-5, rtol=1e-4)
    assert seen.embedding.shape == (2, encoder.embedding_dim) == (2, options["num_classes"])
    assert seen.features.shape == (2, encoder.feature_channels, 7, 7)
    assert len(seen.shallow) == 3 and all(m.ndim == 4 for m in seen.shallow)


def test_tokens_are_laid_out_in_reading_order(tmp_path):
    model, options = VIT
    net = _saved(model, options, tmp_path / "net.safetensors")
    encoder = TimmEncoder(model, tmp_path / "net.safetensors", TEMPLATE, feature_size=14, options=options)
    images = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        tokens = net.forward_features((images - 0.5) / 0.5)
        features = encoder(images).features
    assert (encoder.input_size, encoder.mean) == (112, (0.5, 0.5, 0.5))
    assert tokens.shape[1] == 14 * 14 + net.num_prefix_tokens
    row, column = 3, 10
    torch.testing.assert_close(features[0, :, row, column], tokens[0, net.num_prefix_tokens + 14 * row + column])


def test_pooled_leaves_the_head_out(tmp_path):
    model, options = CNN
    net = _saved(model, options, tmp_path / "net.safetensors")
    encoder = TimmEncoder(model, tmp_path / "net.safetensors", TEMPLATE, pooled=True, options=options)
    images = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        expected = net.forward_features((images - 0.5) / 0.5).mean((2, 3))
        torch.testing.assert_close(encoder(images).embedding, F.normalize(expected, dim=1), atol=1e-5, rtol=1e-4)
    assert encoder.embedding_dim == net.num_features


def test_without_a_connection_the_user_is_told_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with raises(OptionError, argument="model", value="hf_hub:someone/net"):
        TimmEncoder("hf_hub:someone/net", None, TEMPLATE)


def test_a_size_the_model_refuses_is_named(tmp_path):
    model, options = VIT
    _saved(model, options, tmp_path / "net.safetensors")
    with raises(OptionError, argument="model", value="test_vit"):
        TimmEncoder(model, tmp_path / "net.safetensors", TEMPLATE, input_size=100, options=options)


def test_another_networks_file_is_refused(tmp_path):
    _saved(*CNN, tmp_path / "net.safetensors")
    with raises(UnfitTensors, "net.safetensors", "patch_embed"):
        TimmEncoder(VIT[0], tmp_path / "net.safetensors", TEMPLATE, options=VIT[1])
