"""How fast `idn eval` judges: pairs per second, where the time goes, and that memory does not grow with the pairs.

    python benchmarks/evaluation.py [--pairs 1000] [--size 224] [--batch 8] [--threads 2] [--dlib]

Drawn pairs; four methods that cost nothing themselves (exact swap, copy, blurred exact swap, blurred target), so that
the time is that of judging. With --dlib faces have 68 landmarks, and dlib recognises. Prints a Markdown table.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from kornia.filters import gaussian_blur2d

from idn.data.procedural import FaceRenderer
from idn.encoders.dlib_resnet import DlibEncoder, DlibLandmarks
from idn.encoders.trained import ProceduralRecogniser, TrainedMobileFaceNet
from idn.evaluation.evaluate import Evaluation
from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.pairs.pair_set import Pairs
from idn.evaluation.pairs.procedural import ProceduralPairs
from idn.evaluation.parts import Parts
from idn.hardware import describe
from idn.types import IdentityFeatures

_SIDE = 25
"""Pixels of the window that blurs."""


class Known(Method):
    """The exact swap or the target, blurred or not."""

    def __init__(self, name: str, truth: bool, sigma: float) -> None:
        super().__init__(name, {"kind": "student"})
        self.truth, self.sigma = truth, sigma

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        image = pairs.batch.truth if self.truth else pairs.batch.target
        return judged(gaussian_blur2d(image, _SIDE, (self.sigma, self.sigma)) if self.sigma else image, pairs)


METHODS = (
    Known("exact swap", True, 0),
    Known("copy", False, 0),
    Known("blurred swap", True, 3),
    Known("blurred target", False, 3),
)


def peak() -> float:
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def judge(pairs: int, arguments: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Seconds of an evaluation, and of its parts."""
    pair_set = ProceduralPairs(FaceRenderer(), pairs, arguments.size, "ffhq", 0)
    recogniser = DlibEncoder("ffhq") if arguments.dlib else ProceduralRecogniser("ffhq")
    with tempfile.TemporaryDirectory() as folder:
        evaluation = Evaluation(
            pair_set,
            METHODS,
            METHODS[0].name,
            TrainedMobileFaceNet(None, "ffhq"),
            recogniser,
            Path(folder),
            batch=arguments.batch,
            landmarks=DlibLandmarks() if arguments.dlib else None,
        )
        start = time.perf_counter()
        evaluation.run()
        return time.perf_counter() - start, Parts(Path(folder)).seconds(evaluation.chunks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dlib", action="store_true", help="judge by dlib's recogniser and landmarks")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    few = max(2, arguments.pairs // 10)
    judge(few, arguments)
    before, cpu = peak(), time.process_time()
    seconds, parts = judge(arguments.pairs, arguments)
    cpu = time.process_time() - cpu
    print(f"{arguments.pairs} pairs of {arguments.size} px, {len(METHODS)} methods; {describe()}\n")
    print("| | |\n|---|---|")
    print(f"| pairs per second | {arguments.pairs / seconds:.2f} |")
    print(f"| processor seconds per pair | {cpu / arguments.pairs:.3f} |")
    print(f"| largest memory after {few} and {arguments.pairs} pairs, MB | {before:.0f}, {peak():.0f} |")
    for name, value in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"| {name}, share of judging | {value / sum(parts.values()):.0%} |")


if __name__ == "__main__":
    main()
