"""The student as its authors run it: PaddlePaddle, the layers in the published order, one identity in them.

    PADDLE_PYTHON benchmarks/original_network.py {dynamic,inference} TENSORS.npz THREADS

Serves measurements (see turns.py). Needs paddlepaddle and numpy, nothing of this project. TENSORS.npz holds the
weights and a target; the answer to that target is written beside it, so that others can compare.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from turns import serve

ENCODER = (3, 32, 64, 128, 256, 512)
DECODER = ((512, 256), (512, 128), (256, 64), (128, 32))
MASK = (512, 128, 64, 32, 8, 2)


def double(x: paddle.Tensor) -> paddle.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def pair(c_in: int, c_out: int, k: int, stride: int) -> list[nn.Layer]:
    return [nn.Conv2D(c_in, c_in, k, stride, 1, groups=c_in), nn.Conv2D(c_in, c_out, 1)]


class Double(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return double(x)


class Original(nn.Layer):
    """The IDN of one identity, biases of the dynamic convolutions (all zero) and BatchNorms included."""

    def __init__(self) -> None:
        super().__init__()
        encoder = [nn.Sequential(*pair(a, b, 4, 2), nn.LeakyReLU(0.1)) for a, b in pairwise(ENCODER)]
        decoder = [nn.Sequential(*pair(a, b, 3, 1), nn.LeakyReLU(0.1)) for a, b in DECODER]
        self.Encoder, self.Decoder = nn.LayerList(encoder), nn.LayerList(decoder)
        reduce = (nn.Conv2D(32, 8, 1), nn.BatchNorm2D(8), nn.LeakyReLU(0.1))
        paint = (nn.Conv2D(8, 3, 3, padding=1), nn.BatchNorm2D(3), nn.LeakyReLU(0.1), nn.Conv2D(3, 3, 3, padding=1))
        self.final = nn.Sequential(Double(), *reduce, *paint, nn.Tanh())
        stages = [
            nn.Sequential(Double(), *pair(a, b, 3, 1), nn.BatchNorm2D(b), nn.LeakyReLU(0.1)) for a, b in pairwise(MASK)
        ]
        self.mask = nn.Sequential(*stages, nn.Conv2D(2, 1, 3, padding=1), nn.Sigmoid())

    def forward(self, target: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """target: (N, 3, S, S) in [0, 1]. Returns image and mask, in [0, 1]."""
        x = target * 2 - 1
        maps = []
        for stage in self.Encoder:
            x = stage(x)
            maps.append(x)
        mask = self.mask(maps.pop())
        for index, stage in enumerate(self.Decoder):
            x = stage(double(x))
            if index < 3:
                x = paddle.concat([x, maps.pop()], axis=1)
        generated = (self.final(x) + 1) / 2
        return mask * generated + (1 - mask) * target, mask


def load(tensors: dict[str, np.ndarray]) -> Original:
    network = Original()
    missing, extra = network.set_state_dict(tensors)
    if missing or extra:
        raise SystemExit(f"missing {missing}, extra {extra}")
    network.eval()
    return network


def in_dynamic_graph(network: Original, target: np.ndarray) -> Callable[[], list[np.ndarray]]:
    def call() -> list[np.ndarray]:
        with paddle.no_grad():
            return [output.numpy() for output in network(paddle.to_tensor(target))]

    return call


def in_inference_engine(network: Original, target: np.ndarray, threads: int) -> Callable[[], list[np.ndarray]]:
    """A program saved and opened again; without oneDNN, whose kernels refuse this network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        paddle.jit.save(network, str(path), input_spec=[paddle.static.InputSpec(target.shape, "float32")])
        program = next(p for p in (path.with_suffix(".json"), path.with_suffix(".pdmodel")) if p.exists())
        config = paddle.inference.Config(str(program), str(path.with_suffix(".pdiparams")))
        config.disable_gpu()
        config.disable_mkldnn()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(threads)
        predictor = paddle.inference.create_predictor(config)
    given = predictor.get_input_handle(predictor.get_input_names()[0])
    wanted = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def call() -> list[np.ndarray]:
        given.copy_from_cpu(target)
        predictor.run()
        return [handle.copy_to_cpu() for handle in wanted]

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("dynamic", "inference"))
    parser.add_argument("tensors", type=Path)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()

    paddle.set_device("cpu")
    tensors = dict(np.load(arguments.tensors))
    target = tensors.pop("target")
    network = load(tensors)
    if arguments.engine == "dynamic":
        call = in_dynamic_graph(network, target)
    else:
        call = in_inference_engine(network, target, arguments.threads)
    image, mask = call()
    np.savez(arguments.tensors.with_name(f"{arguments.engine}.npz"), image=image, mask=mask)
    serve(call, f"Paddle {paddle.__version__}")


if __name__ == "__main__":
    main()
