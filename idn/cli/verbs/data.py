"""Verbs that make data: `idn align`."""

from omegaconf import DictConfig

from idn.cli.instantiate import build
from idn.cli.next_commands import after_align


def align(cfg: DictConfig) -> None:
    """Find, align and crop the faces of a folder of photographs; say what was left out."""
    from idn.data.alignment.align import align_folder

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
    print(after_align(str(cfg.dst)))
