import pytest
import torch
from safetensors.torch import save_file

from idn.errors import UserError
from idn.identity.mobilefacenet import MobileFaceNet
from idn.identity.trained import BUNDLED, TrainedMobileFaceNet, save_trained
from idn.weights import read_metadata

TEMPLATE = "arcface_112_v2"


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = MobileFaceNet(0.25, 24, 56, TEMPLATE, "ffhq")
    for _ in range(3):
        net(torch.rand(8, 3, 80, 80))
    return net.eval()


def test_saving_and_loading_keeps_the_embedding(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_trained(network, path, "Apache-2.0", "idn identity", {"accuracy": 0.5})
    encoder = TrainedMobileFaceNet(path, "ffhq")
    images = torch.rand(3, 3, 80, 80)
    with torch.no_grad():
        cosine = (encoder(images).embedding * network(images).embedding).sum(1)
    assert cosine.min() > 0.9999
    assert (encoder.embedding_dim, encoder.feature_channels, encoder.feature_size) == (24, 512, 7)
    assert encoder.licence == "Apache-2.0"
    assert read_metadata(path)["command"] == "idn identity"


def test_kernels_take_half_the_room_and_the_network_stays_single(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_trained(network, path, "Apache-2.0", "idn identity", {})
    assert path.stat().st_size < 3 * sum(p.numel() for p in network.parameters())
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_files_that_are_no_encoder_are_refused(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "plain.safetensors")
    with pytest.raises(UserError, match="no identity encoder"):
        TrainedMobileFaceNet(tmp_path / "plain.safetensors", TEMPLATE)
    with pytest.raises(UserError, match="does not exist"):
        TrainedMobileFaceNet(tmp_path / "absent.safetensors", TEMPLATE)


@pytest.mark.skipif(not BUNDLED.exists(), reason="the bundled encoder has not been trained yet")
def test_the_bundled_encoder_is_small_and_loads():
    assert BUNDLED.stat().st_size <= 2.5e6
    encoder = TrainedMobileFaceNet(None, "ffhq")
    assert encoder.feature_size == 7
    assert encoder(torch.rand(1, 3, 64, 64)).embedding.isfinite().all()
