"""How well an identity encoder of procedural faces tells people apart that it has never seen.

    python benchmarks/verification.py [--weights FILE] [--pairs 6000] [--sizes 64 96 128]

Draws pairs of procedural people, half of them one person in two situations, and prints the verification accuracy
(10 folds, as on LFW), the area under the ROC curve and the cosines of both kinds, as a Markdown table.
"""

import argparse

import torch

from idn.data.procedural import FaceRenderer, verification_pairs
from idn.encoders.trained import TrainedMobileFaceNet
from idn.hardware import describe
from idn.metrics.verification import verify


def cosines(encoder: TrainedMobileFaceNet, size: int, pairs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine of every pair, and whether it shows one person."""
    scores, kinds = [], []
    for a, b, same in verification_pairs(FaceRenderer(), size, pairs, seed, chunk=100):
        first, second = encoder(torch.cat([a, b])).embedding.chunk(2)
        scores.append((first * second).sum(1))
        kinds.append(same)
    return torch.cat(scores), torch.cat(kinds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None, help="file of `idn train-encoder`; the bundled encoder by default")
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--seed", type=int, default=20260101, help="of the people; training uses small seeds")
    arguments = parser.parse_args()
    encoder = TrainedMobileFaceNet(arguments.weights, FaceRenderer.template)
    print(f"{describe()}; {arguments.pairs} pairs, seed {arguments.seed}\n")
    print("| picture | accuracy | AUC | TAR at FAR 1e-3 | same person | different people |\n|---|---|---|---|---|---|")
    for size in arguments.sizes:
        scores, same = cosines(encoder, size, arguments.pairs, arguments.seed)
        result = verify(scores, same)
        both = " | ".join(f"{part.mean():.3f} ± {part.std():.3f}" for part in (scores[same], scores[~same]))
        print(
            f"| {size} px | {result['accuracy']:.2%} | {result['auc']:.5f} | {result['tar_at_far_1e-3']:.2%} | {both} |"
        )


if __name__ == "__main__":
    main()
