"""What the embedding of the bundled identity encoder knows of a drawn person, and from how many people one can tell.

    python benchmarks/embedding.py [--size 96] [--people 4000] [--seed 5]

Draws people, each in one situation, and prints how many directions hold the variance of their embeddings, and how much
of the parameters that a person is drawn from a linear regression explains (R squared, mean over the parameters) on the
last fifth of the people, fitted to some of the others with the best of several ridge penalties.
"""

import argparse

import torch
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.encoders.trained import TrainedMobileFaceNet
from idn.hardware import describe

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 0.5)
"""Relative to the mean eigenvalue."""


def draw(size: int, people: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings, (people, D), and parameters, (people, P), of drawn people."""
    renderer, encoder = FaceRenderer(), TrainedMobileFaceNet(None, FaceRenderer.template)
    generator = torch.Generator().manual_seed(seed)
    embeddings, parameters = [], []
    with torch.no_grad():
        for _ in range(people // 32):
            drawn = renderer.sample_identity(32, generator)
            picture = renderer.render(drawn, renderer.sample_attributes(32, generator), size).image
            embeddings.append(encoder(picture).embedding)
            parameters.append(drawn)
    return torch.cat(embeddings), torch.cat(parameters)


def explained(fitted: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor]) -> float:
    """R squared of the best ridge regression, mean over the parameters."""
    x, y = (part - part.mean(0) for part in fitted)
    a, b = judged[0] - fitted[0].mean(0), judged[1] - fitted[1].mean(0)
    gram = x.T @ x
    ridge = gram.diag().mean() * torch.eye(len(gram))
    errors = [(b - a @ torch.linalg.solve(gram + penalty * ridge, x.T @ y)).square().mean(0) for penalty in PENALTIES]
    return max(float((1 - error / judged[1].var(0)).mean()) for error in errors)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="pixels of the pictures")
    parser.add_argument("--people", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    embeddings, parameters = draw(arguments.size, arguments.people, arguments.seed)
    share = torch.linalg.eigvalsh(torch.cov(embeddings.T)).flip(0).cumsum(0)
    share = share / share[-1]
    print(f"{describe()}; {len(embeddings)} people, {arguments.size} px, {embeddings.shape[1]} directions\n")
    print("| share of the variance | directions |\n|---:|---:|")
    for part in (0.5, 0.9, 0.99, 0.999):
        print(f"| {part:.1%} | {int((share < part).sum()) + 1} |")
    judged = 4 * len(embeddings) // 5
    print("\n| people to learn from | R squared |\n|---:|---:|")
    for count in (judged // 8, judged // 4, judged // 2, judged):
        fitted = embeddings[:count], parameters[:count]
        print(f"| {count} | {explained(fitted, (embeddings[judged:], parameters[judged:])):.3f} |")


if __name__ == "__main__":
    main()
