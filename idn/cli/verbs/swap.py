"""Verbs that use a student: `idn swap`."""

import sys
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import build
from idn.cli.options.typed import refuse_passed_on, refuse_useless
from idn.cli.verbs.students import tell_size
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_bool, require_int, require_number, require_one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from idn.swap.models.model import Model
    from idn.swap.photo import Swapping
    from idn.swap.pictures import PictureWork


def swap(cfg: DictConfig) -> None:
    """Swap the faces of photographs and videos, and say what was done."""
    from idn.files.photos import is_photo
    from idn.hardware import choose_device
    from idn.swap.pictures import PictureWork, out_file, swap_folder, swap_picture, timed
    from idn.swap.progress import bar
    from idn.swap.report import Report

    _check(cfg)
    target, out = _target(cfg), Path(str(cfg.out))
    photo = target.is_file() and is_photo(target)
    _check_effects(cfg, target, photo)
    device = choose_device(cfg.device)
    model = _model(cfg, device, photo)
    if cfg.drawn:
        _admit_drawn(cfg, model)
    detector = None if cfg.aligned else _detector(cfg, model, device)
    if cfg.drawn:
        _draw(cfg)
    swapping = _swapping(cfg, model)
    report = Report(swapping.parts)
    work = PictureWork(
        swapping=swapping,
        detector=detector,
        overwrite=cfg.overwrite,
        picture_format=cfg.picture_format,
        quality=cfg.picture_quality,
        stamp=build(cfg.provenance),
        report=report,
        sources=_photos(cfg.source) + _photos(cfg.like),
    )
    stop = timed(report)
    with bar("frames" if target.is_file() else "files") as progress:
        if photo:
            swap_picture(target, out, work)
        elif target.is_file():
            _videos(cfg, work, progress)(target, out_file(target, out, target.suffix))
        else:
            videos = _found_videos(target)
            swap_folder(target, out, work, progress, _videos(cfg, work, None) if videos else None, videos)
    stop()
    report.notes.append(f"{model.name} in {model.runtime}")
    report.show()


def _found_videos(root: Path) -> tuple[str, ...]:
    """Names of the videos of a folder, relative to it."""
    from idn.video.reading import SUFFIXES

    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return tuple(sorted(str(PurePosixPath(path)) for path in found if not any(p.startswith(".") for p in path.parts)))


def _videos(
    cfg: DictConfig, work: "PictureWork", progress: "Callable[[int, int], None] | None"
) -> "Callable[[Path, Path], None]":
    """What swaps a video, with the model and the people of the pictures. progress: told of frames."""
    from idn.data.alignment.every_face import EveryFace
    from idn.swap.runtimes import compiled_close_ups
    from idn.swap.video.run import VideoWork

    if cfg.aligned:
        raise UserError(f"aligned=true is for crops, and target={cfg.target} holds a video: leave it out")
    plan = {
        name: _plain(cfg[name])
        for name in ("source", "faces", "like", "threshold", "match_colour", "least", "size", "most_yaw")
    }
    model, finder = work.swapping.model, work.detector.detector
    close_ups = compiled_close_ups(finder, cfg.runtime, next(finder.parameters()).device, cfg.threads)
    return VideoWork(
        swapping=work.swapping,
        everyone=EveryFace(finder, work.detector.least, close_ups),
        following=build(cfg.following),
        encoding=build(cfg.encoding),
        stamp=work.stamp,
        overwrite=cfg.overwrite,
        resume=cfg.resume,
        plan={**plan, "model": model.notes},
        report=work.report,
        sources=work.sources,
        progress=(lambda done, total: None) if progress is None else progress,
    ).write


def _target(cfg: DictConfig) -> Path:
    """What is swapped, which is not there yet where it is to be drawn. Raises OptionError for one that is not there."""
    target = _drawn_path(cfg, "target") if cfg.drawn and cfg.target is None else Path(str(cfg.target))
    if cfg.target is not None and not target.exists():
        raise OptionError("target", target, "is not there: check the path")
    return target


def _admit_drawn(cfg: DictConfig, model: "Model") -> None:
    """Let a model that knows drawn faces alone swap pictures in which they are looked for.

    Raises OptionError, before anything is drawn, for a model of photographs, and for `out` or `faces` that cannot be.
    """
    from idn.swap.choose import make_choice

    if not model.drawn_only:
        raise OptionError("drawn", True, f"is for students of drawn faces, and {model.name} is one of photographs")
    model.drawn_only = False
    if cfg.target is None:
        _check_clip(cfg)
    if cfg.source is None and cfg.like is None:
        make_choice(_plain(cfg.faces), 1, None, cfg.threshold)


def _draw(cfg: DictConfig) -> None:
    """Draw what is not given beside `out`; what an earlier run drew is taken again."""
    from idn.swap.drawn import draw_clip, draw_portrait

    for name, draw, seed in (("source", draw_portrait, cfg.seed + 1), ("target", draw_clip, cfg.seed + 2)):
        if cfg[name] is None:
            path = _drawn_path(cfg, name)
            if not path.exists():
                print(f"drawing {path}", file=sys.stderr)
                draw(path, seed)
            cfg[name] = str(path)


def _check_clip(cfg: DictConfig) -> None:
    """Raise OptionError for an `out` in which no clip that is drawn can be swapped."""
    from idn.swap.pictures import check_out, out_file
    from idn.video.muxing import check_ending

    target = _drawn_path(cfg, "target")
    out = out_file(target, Path(str(cfg.out)), target.suffix)
    build(cfg.encoding).check_codec()
    check_ending(out, cfg.encoding.codec)
    check_out(target, out, cfg.overwrite, _photos(cfg.source))


def _drawn_path(cfg: DictConfig, name: str) -> Path:
    out = Path(str(cfg.out))
    return out.with_name(f"{out.stem}.{name}.{'png' if name == 'source' else 'mp4'}")


def _check(cfg: DictConfig) -> None:
    """Raise UserError for options that are missing or have impossible values."""
    from idn.swap.pictures import WRITTEN
    from idn.swap.runtimes import RUNTIMES

    require_bool("drawn", cfg.drawn)
    missing = [name for name in ("target", "out") if cfg[name] is None and (name == "out" or not cfg.drawn)]
    if cfg.weights is None and cfg.get("teacher") is None:
        missing.insert(0, "weights")
    if missing:
        raise UserError(
            f"idn swap needs {' and '.join(missing)}: write weights=STUDENT source=PHOTO target=PHOTO|FOLDER|VIDEO "
            "out=FILE; `idn train` makes a student of drawn faces, for which drawn=true draws source and target, and "
            "--help shows all options"
        )
    if cfg.weights is not None and cfg.get("teacher") is not None:
        raise OptionError("weights", cfg.weights, "and a teacher are both given: choose one")
    for name in ("aligned", "overwrite", "match_colour", "run_programs", "resume"):
        require_bool(name, cfg[name])
    require_int("threads", cfg.threads, 1, 256)
    require_int("batch", cfg.batch, 1, 4096)
    require_int("picture_quality", cfg.picture_quality, 1, 100)
    require_number("least", cfg.least, 8)
    require_one_of("runtime", cfg.runtime, RUNTIMES)
    if cfg.most_yaw is not None:
        require_number("most_yaw", cfg.most_yaw, 1, 180)
    if cfg.size is not None:
        require_int("size", cfg.size, 16, 4096)
    if cfg.picture_format is not None:
        require_one_of("picture_format", cfg.picture_format, WRITTEN)


def _check_effects(cfg: DictConfig, target: Path, photo: bool) -> None:
    """Raise UserError for an option that was typed and changes nothing of what is asked for."""
    refuse_passed_on({"data.size": "size"})
    reasons = {}
    if photo:
        reasons = dict.fromkeys(("encoding", "following", "resume"), f"on {target}, a photograph: leave it out")
    elif not target.is_dir():
        reasons = dict.fromkeys(("picture_format", "picture_quality"), f"on {target}, a video: leave it out")
    if cfg.like is None:
        reasons["threshold"] = "without like=PHOTO: add that, or leave it out"
    else:
        reasons["faces"] = "beside like, which finds the people: leave one of the two out"
    refuse_useless(reasons)


def _model(cfg: DictConfig, device: "torch.device", photo: bool) -> "Model":
    """What swaps. photo: whether it is for one photograph, for which a network is not worth compiling."""
    from idn.students.student_file import read_student_file
    from idn.swap.models.exported import ExportedModel
    from idn.swap.models.student import open_student

    if cfg.weights is None:
        return _teacher(cfg, device)
    path = Path(str(cfg.weights))
    if not path.exists():
        raise OptionError("weights", path, "is not there: give student.safetensors of a training, or an export")
    if path.is_dir() or path.suffix != ".safetensors" or (path.parent / "card.json").is_file():
        return ExportedModel(path, cfg.run_programs, cfg.threads)
    file = read_student_file(path)
    cfg.data.template = file.template or cfg.data.template
    tell_size(file, cfg.size)
    runtime = "torch" if cfg.runtime == "auto" and photo else cfg.runtime
    return open_student(path, build(cfg.encoder), device, runtime, cfg.threads, cfg.size)


def _teacher(cfg: DictConfig, device: "torch.device") -> "Model":
    from idn.swap.models.teacher import TeacherModel

    name = str(HydraConfig.get().runtime.choices.get("teacher"))
    cfg.data.size = cfg.size if cfg.size is not None else cfg.data.size
    encoder, teacher = build(cfg.encoder), build(cfg.teacher)
    try:
        teacher.attach(None, encoder)
    except AttributeError as error:
        raise UserError(
            f"teacher={name} knows the answers to its own pairs only: give the one that it asked"
        ) from error
    return TeacherModel(name, teacher, encoder, cfg.data.template, cfg.data.size, device)


def _swapping(cfg: DictConfig, model: "Model") -> "Swapping":
    """Model, people and choice of faces."""
    from idn.swap.choose import make_choice
    from idn.swap.photo import Swapping
    from idn.swap.sources import listed_people, read_references, read_sources

    people = [] if cfg.source is None else listed_people(_plain(cfg.source))
    find = partial(_make_detector, cfg)
    sources = read_sources(model, people, cfg.aligned, find)
    like = None
    if cfg.like is not None:
        like = read_references(model, _photos(cfg.like), find)
    choice = make_choice(_plain(cfg.faces), len(sources), like, cfg.threshold)
    return Swapping(model, sources, choice, cfg.match_colour, cfg.batch, most_yaw=cfg.most_yaw)


def _photos(people: Any) -> list[Path]:
    from idn.swap.sources import listed_people

    return [] if people is None else [path for photos in listed_people(_plain(people)) for path in photos]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _make_detector(cfg: DictConfig) -> Any:
    return build(cfg.detector)()


def _detector(cfg: DictConfig, model: "Model", device: "torch.device") -> Any:
    """What finds all faces of targets. Raises UserError for a model that knows drawn faces only."""
    from idn.data.alignment.every_face import EveryFace

    if model.drawn_only:
        raise UserError(
            f"target={cfg.target} is no crop, and {model.name} reads an encoder that knows drawn faces only: give "
            "crops with aligned=true, drawn=true if its faces are drawn ones, or a student of photographs with its "
            "encoder=... encoder.weights=FILE"
        )
    return EveryFace(_make_detector(cfg).to(device), float(cfg.least))
