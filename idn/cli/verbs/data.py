"""Verbs that make data: `idn align` and `idn triplets`."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from idn.cli.instantiate import build
from idn.cli.next_commands import after_align, after_shards, after_triplets
from idn.cli.options.typed import refuse_passed_on
from idn.errors import OptionError, UserError


def align(cfg: DictConfig) -> None:
    """Find, align and crop the faces of a folder of photographs; say what was left out."""
    from idn.data.alignment.align import align_folder
    from idn.data.shards.write import check_vacant, write_shards

    if cfg.shards is not None:
        check_vacant("shards", str(cfg.shards))
    align_folder(
        src=cfg.src,
        dst=cfg.dst,
        make_detector=build(cfg.detector),
        size=cfg.size,
        template=cfg.template,
        min_face=cfg.min_face,
        picture_format=cfg.picture_format,
        picture_quality=cfg.picture_quality,
        workers=cfg.workers,
        device=cfg.device,
        max_pixels=cfg.max_pixels,
    )
    if cfg.shards is not None:
        try:
            write_shards(str(cfg.dst), str(cfg.shards))
        except OptionError as error:
            raise error.renamed("shards") if error.argument == "dst" else error from None
    print(after_align(str(cfg.dst)))


def shards(cfg: DictConfig) -> None:
    """Pack a folder of crops into shards."""
    from idn.data.shards.write import write_shards

    try:
        write_shards(str(cfg.src), str(cfg.dst), cfg.megabytes)
    except OptionError as error:
        raise error.renamed("src") if error.argument == "root" else error from None
    print(after_shards(str(cfg.dst)))


def triplets(cfg: DictConfig) -> None:
    """Make triplets of whatever was named: drawn people, photographs, pictures that were edited elsewhere."""
    from idn.triplets.make import make_triplets

    refuse_passed_on({"data.size": "size", "data.template": "template"})
    notes: list[str] = []
    works = []
    if cfg.people:
        works.append(build(cfg.drawn))
    if cfg.src is not None:
        works.append(_photographs(cfg, notes))
    if cfg.pairs is not None:
        works.append(_edited_elsewhere(cfg))
    if not works:
        raise UserError("there is nothing to make triplets of: give people=N, src=PHOTOS or pairs=DIR")
    make_triplets(str(cfg.dst), works, cfg.size, cfg.template, cfg.seed, cfg.workers, cfg.sheet, notes)
    print(after_triplets(str(cfg.dst), photographs=any(work.photographs for work in works)))


def _faces(cfg: DictConfig, src: str) -> Any:
    """What reads the faces of a folder; a detector is built where it holds no crops of `idn align`."""
    from idn.data.alignment.manifest import NAME
    from idn.triplets.photographs import FaceSource

    detector = None if (Path(src) / NAME).is_file() or not Path(src).is_dir() else build(cfg.detector)
    return FaceSource(src, cfg.size, cfg.template, detector, cfg.min_face, cfg.layout)


def _photographs(cfg: DictConfig, notes: list[str]) -> Any:
    """The edits of photographs, without those that lack a folder or landmarks, which `notes` says."""
    from idn.triplets.photographs import Photographs

    chosen = {name: node for name, node in cfg.edits.items() if node is not None}
    edits = {name: build(node) for name, node in chosen.items() if "folder" not in node or node.folder is not None}
    faces, landmarks = _faces(cfg, str(cfg.src)), None
    if cfg.landmarks is not None:
        try:
            landmarks = build(cfg.landmarks)
        except UserError as error:
            if cfg.landmarks.get("path") is not None:
                raise
            lacking = [name for name, edit in edits.items() if edit.dense]
            notes.append(f"not made: {', '.join(lacking)} (68 landmarks are missing: {error})")
    return Photographs(faces, edits, cfg.seed, landmarks, cfg.per_photograph)


def _edited_elsewhere(cfg: DictConfig) -> Any:
    """Pictures that an editing model made, and the encoder that measures them."""
    encoder = build(cfg.encoder)
    if getattr(encoder, "drawn_only", False):
        raise UserError(
            "an encoder of real people measures pairs: add encoder=mobilefacenet encoder.weights=FILE, or another"
        )
    try:
        faces = _faces(cfg, str(cfg.pairs))
    except OptionError as error:
        raise error.renamed("pairs") if error.argument == "src" else error from None
    return build(cfg.measured, faces=faces, encoder=encoder)
