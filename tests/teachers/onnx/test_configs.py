"""The ready configs of published ONNX swappers: what they declare, and that files of that signature run with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from idn.cli import conf_dir
from idn.cli.instantiate import build
from idn.frozen import Frozen
from idn.images import IMAGENET_MEAN, IMAGENET_STD
from idn.types import IdentityFeatures, SwapBatch

ZERO, HALF, ONE = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
EMBEDDED, V2, FFHQ = None, (112, "arcface_112_v2"), (256, "ffhq")
GHOST = ("arcface_112_v1", 256, HALF, HALF, True, EMBEDDED, ("crossface_ghost", False))
HYPERSWAP = ("arcface_128", 256, HALF, HALF, True, EMBEDDED, None)
INSWAPPER = ("arcface_128", 128, ZERO, ONE, False, EMBEDDED, "matrix")
TABLE = {
    # template, size, mean, std, whether the answer is decoded by them too, crop of the source, embedding map
    "blendswap_256": ("ffhq", 256, ZERO, ONE, False, V2, None),
    "ghost_1_256": GHOST,
    "ghost_2_256": GHOST,
    "ghost_3_256": GHOST,
    "hififace_unofficial_256": ("mtcnn", 256, HALF, HALF, True, EMBEDDED, ("crossface_hififace", True)),
    "hyperswap_1a_256": HYPERSWAP,
    "hyperswap_1b_256": HYPERSWAP,
    "hyperswap_1c_256": HYPERSWAP,
    "inswapper_128": INSWAPPER,
    "inswapper_128_fp16": INSWAPPER,
    "simswap_256": (
        "arcface_112_v1",
        256,
        IMAGENET_MEAN,
        IMAGENET_STD,
        False,
        EMBEDDED,
        ("crossface_simswap", True),
    ),
    "simswap_unofficial_512": ("arcface_112_v1", 512, ZERO, ONE, False, EMBEDDED, ("crossface_simswap", True)),
    "uniface_256": ("ffhq", 256, HALF, HALF, True, FFHQ, None),
}
BYTES = {
    "blendswap_256": 1_661_432_957,
    "ghost_1_256": 514_902_950,
    "ghost_2_256": 738_727_769,
    "ghost_3_256": 855_514_631,
    "hyperswap_1a_256": 402_742_682,
    "hyperswap_1b_256": 402_742_682,
    "hyperswap_1c_256": 402_742_682,
    "inswapper_128": 554_253_681,
    "inswapper_128_fp16": 277_680_829,
    "simswap_unofficial_512": 239_249_034,
}


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [f"teacher=onnx_{name}", *overrides])


class Recogniser(Frozen):
    """Stands in for w600k_r50."""

    name, licence, embedding_dim, feature_channels, feature_size = "w600k_r50", "none", 512, 3, 2

    def forward(self, images: Tensor) -> IdentityFeatures:
        embedding = images.flatten(1)[:, :512]
        return IdentityFeatures(embedding / embedding.norm(dim=1, keepdim=True), images[..., :2, :2])


def save(path: Path, nodes: list, inputs: dict, outputs: dict, weights: dict[str, np.ndarray]) -> None:
    taken, given = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]
        for ports in (inputs, outputs)
    )
    kept = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", taken, given, kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_files(folder: Path, name: str) -> None:
    """A file with the signature of the published one, for one face, and its converter: target + mean of the source."""
    _, size, _, _, _, crop, embedding_map = TABLE[name]
    face, source = [1, 3, size, size], [1, 512] if crop is None else [1, 3, crop[0], crop[0]]
    axes = list(range(1, len(source)))
    nodes = [
        helper.make_node("ReduceMean", ["source"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Add", ["target", "mean"], ["output"]),
    ]
    outputs = {"output": face}
    if name.startswith("hyperswap"):
        nodes.append(helper.make_node("ReduceMean", ["target"], ["mask"], axes=[1], keepdims=1))
        outputs["mask"] = [1, 1, size, size]
    eye = np.eye(512, dtype=np.float32)
    save(
        folder / f"{name}.onnx",
        nodes,
        {"source": source, "target": face},
        outputs,
        {"emap": eye} if embedding_map == "matrix" else {},
    )
    if isinstance(embedding_map, tuple):
        twice = [helper.make_node("MatMul", ["input", "eye"], ["output"])]
        save(folder / f"{embedding_map[0]}.onnx", twice, {"input": [1, 512]}, {"output": [1, 512]}, {"eye": 2 * eye})


@pytest.mark.parametrize("name", TABLE)
def test_declares_what_was_published_and_runs_a_file_of_that_signature(name: str, tmp_path: Path) -> None:
    template, size, mean, std, decoded, crop, embedding_map = TABLE[name]
    write_files(tmp_path, name)
    cfg = composed(name, f"weights_dir={tmp_path}").teacher
    assert (cfg.weights, cfg.record.file_bytes) == (f"{tmp_path}/{name}.onnx", BYTES.get(name))
    assert cfg.record.sha256 is None or name == "inswapper_128"
    cfg.record.file_bytes = cfg.record.sha256 = None
    recogniser = {} if crop else {"encoder": Recogniser()}
    if crop is None:
        assert (cfg.encoder.name, cfg.encoder.depth) == ("w600k_r50", 50)
        assert cfg.encoder.weights == f"{tmp_path}/w600k_r50.onnx"
        cfg.encoder = None
    teacher = build(cfg, **recogniser)
    record = teacher.record
    assert (record.name, record.target.template, record.target.size) == (name, template, size)
    assert (record.target.mean, record.target.std) == (mean, std)
    assert (record.output_mean, record.output_std) == ((mean, std) if decoded else (ZERO, ONE))
    seen = record.source.crop
    assert (None if seen is None else (seen.size, seen.template, seen.mean, seen.std)) == (crop and (*crop, ZERO, ONE))
    assert record.returns_mask == name.startswith("hyperswap") and record.commercial is not True
    found = teacher.embedding_map
    if embedding_map is None:
        assert found is None
    elif embedding_map == "matrix":
        assert found.convention == "insightface"
    else:
        assert (found.program.path.stem, found.unit_length) == embedding_map
    pair = SwapBatch(*torch.rand(2, 2, 3, 64, 64), torch.ones(2, 1, 64, 64), torch.zeros(2, dtype=torch.bool))
    answer = teacher(pair, IdentityFeatures(torch.zeros(2, 8), torch.zeros(2, 4, 2, 2)))
    assert answer.shape == pair.target.shape and answer.isfinite().all()


def test_every_ready_file_is_in_the_table() -> None:
    found = {path.stem.removeprefix("onnx_") for path in (conf_dir() / "teacher").glob("onnx_*.yaml")}
    assert found == set(TABLE)


def test_generic_config_asks_for_what_it_cannot_know() -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", ["teacher=onnx"]).teacher
    record = cfg.record
    for node, key in ((cfg, "weights"), (record, "licence"), (record.target, "size"), (record.source, "kind")):
        assert OmegaConf.is_missing(node, key)
