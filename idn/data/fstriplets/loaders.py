"""Loaders of a run on FSTriplets: triplets to train with, those of held-out people to validate."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from idn.data.crop_reader import CropReader
from idn.data.fstriplets.augment import TripletAugment
from idn.data.fstriplets.dataset import FSTriplets
from idn.data.fstriplets.folder import TripletFolder
from idn.data.fstriplets.mixture import by_class
from idn.data.loaders import SwapData, check_size
from idn.data.photo_folder import stored_framing
from idn.data.regions import FaceRegions
from idn.errors import OptionError
from idn.files.option_checks import require_callable, require_int, require_one_of, require_words
from idn.geometry.templates import TEMPLATES
from idn.types import join_batches


def fstriplets_data(
    root: str,
    size: int,
    template: str,
    batch: int,
    seed: int,
    probabilities: Mapping[str, Any],
    stored_template: str | None = None,
    layout: str = "auto",
    real_target: Sequence[str] = ("bald", "grin"),
    occlusion: float = 0.0,
    holdout: float = 0.05,
    val_batches: int = 8,
    workers: int = 2,
    cache: bool = False,
    augment: TripletAugment | None = None,
    regions: FaceRegions | None = None,
    targets_per_identity: int | None = 1,
) -> SwapData:
    """Loaders for a run on triplets: augmented ones to train with, plain ones of held-out people to validate.

    The options are those of FSTriplets, TripletFolder and CropReader.
    probabilities: see `by_class`.
    batch: triplets per step.
    val_batches: batches per validation.
    workers: loader processes.
    targets_per_identity: 1, or None for it: every triplet has a source of its own.
    Says on stderr what is there, which classes are absent and what is left out. Raises UserError for folders and
    options that cannot be.
    """
    check_size(size)
    require_int("batch", batch, 1)
    require_int("val_batches", val_batches, 1)
    require_int("seed", seed)
    require_one_of("template", template, TEMPLATES)
    require_callable("augment", augment)
    require_callable("regions", regions)
    require_words("real_target", real_target)
    if targets_per_identity not in (None, 1):
        wanted = "does not fit triplets, each of which has a source of its own: give 1"
        raise OptionError("targets_per_identity", targets_per_identity, wanted)
    if stored_template is not None:
        require_one_of("stored_template", stored_template, TEMPLATES)
    asked = by_class(probabilities)
    folder = TripletFolder(root, layout)
    noted = None if folder.settings is None else folder.settings.template
    stored = stored_framing(folder.root, noted, stored_template, "idn triplets")
    read = CropReader(folder.root, size, template, stored, cache)
    real = tuple(real_target)
    train = FSTriplets(folder, read, asked, "train", holdout, seed, real, augment, regions, occlusion)
    val = FSTriplets(folder, read, asked, "val", holdout, seed, real, None, regions)
    print(_told(folder, train, val), file=sys.stderr)
    return SwapData(
        train,
        val,
        val_batches * batch,
        size,
        template,
        batch,
        join_batches,
        workers,
        photographs=folder.photographs,
    )


def _told(folder: TripletFolder, train: FSTriplets, val: FSTriplets) -> str:
    """What a run takes from the folder, in one line."""
    said = [folder.summary()]
    if train.mixture.absent:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in train.mixture.shares.items())
        said.append(f"absent: {', '.join(train.mixture.absent)}, whose probability goes to the others ({shares})")
    if train.mixture.unasked:
        said.append(f"without probability: {', '.join(train.mixture.unasked)}")
    if missing := [name for name in train.mixture.names if name in train.content and name not in val.mixture.names]:
        said.append(f"nobody held out in {', '.join(missing)}")
    return "; ".join(said)
