"""What must hold for every identity encoder."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from idn.encoders.arcface import ArcFaceEncoder, ArcFaceNet
from idn.encoders.mobilefacenet import MobileFaceNet
from idn.encoders.mobilefacenet_512 import MobileFaceNet512, MobileFaceNet512Encoder
from idn.encoders.timm_encoder import TimmEncoder
from idn.encoders.trained import TrainedMobileFaceNet, save_trained


def _trained(folder):
    save_trained(MobileFaceNet(0.25, 32, 56, "ffhq", "ffhq"), folder / "net.safetensors", "Apache-2.0", "", {})
    return TrainedMobileFaceNet(folder / "net.safetensors", "ffhq")


def _arcface(folder):
    torch.save(ArcFaceNet().state_dict(), folder / "net.pt")
    return ArcFaceEncoder(folder / "net.pt", "ffhq")


def _mobilefacenet_512(folder):
    torch.save(MobileFaceNet512().state_dict(), folder / "net.pth")
    return MobileFaceNet512Encoder(folder / "net.pth", "ffhq")


def _timm(folder):
    save_file(timm.create_model("test_vit", pretrained=False, num_classes=16).state_dict(), folder / "net.safetensors")
    return TimmEncoder("test_vit", folder / "net.safetensors", "ffhq", options={"num_classes": 16})


@pytest.fixture(
    scope="module", params=[_trained, _arcface, _mobilefacenet_512, _timm], ids=lambda build: build.__name__
)
def encoder(request, tmp_path_factory):
    torch.manual_seed(0)
    return request.param(tmp_path_factory.mktemp("encoder"))


def test_training_mode_and_gradients_change_nothing_inside(encoder):
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert encoder.train() is encoder
    assert not any(module.training for module in encoder.modules())
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    seen = encoder(images)
    (seen.embedding[:, 0].sum() + seen.features.mean() + sum(m.mean() for m in seen.shallow)).backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert [name for name, p in encoder.named_parameters() if p.requires_grad or p.grad is not None] == []
    after = encoder.state_dict()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []


def test_the_gradient_of_the_embedding_alone_reaches_the_image(encoder):
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    encoder(images).embedding[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0


def test_shapes_are_the_declared_ones_and_embeddings_have_unit_length(encoder):
    seen = encoder(torch.rand(2, 3, 64, 64))
    side = encoder.feature_size
    assert seen.embedding.shape == (2, encoder.embedding_dim)
    assert seen.features.shape == (2, encoder.feature_channels, side, side)
    torch.testing.assert_close(seen.embedding.norm(dim=1), torch.ones(2), atol=1e-5, rtol=0)
    assert encoder.name and encoder.licence


def test_under_autocast_the_embedding_is_normalised_in_single_precision(encoder):
    images = torch.rand(2, 3, 64, 64)
    plain = encoder(images).embedding
    with torch.autocast("cpu", torch.bfloat16):
        embedding = encoder(images).embedding
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2), atol=1e-5, rtol=0)
    assert (embedding * plain).sum(1).min() > 0.97


def test_samples_do_not_influence_one_another(encoder):
    images = torch.rand(3, 3, 64, 64)
    together, alone = encoder(images).embedding[1], encoder(images[1:2]).embedding[0]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
