"""Verbs about files of students: `idn import`, `idn export`, `idn bench`, `idn install-converter`."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import build, build_acquainted
from idn.cli.options.errors import PROCEDURAL
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_file, require_int

if TYPE_CHECKING:
    from idn.students.student_file import StudentFile

MEASURED = (128, 512, 7)
"""Sizes of the encoder of a student that is built only to be measured: those of MobileFaceNet."""

NOBODY = "none"
"""Value of `source` that leaves the choice of a person to the app."""


def _listed(value: Any) -> list[Any]:
    """One value or several, as a list."""
    return list(value) if OmegaConf.is_list(value) else [value]


def export(cfg: DictConfig) -> None:
    """Write a student in the chosen formats, and prove each file."""
    from idn.encoders.description import describe_encoder
    from idn.export.export import Plan
    from idn.export.export import export as write_all
    from idn.export.products import bake_product, check_size, dynamic_product
    from idn.hardware import describe
    from idn.students.student_file import load_student, read_student_file
    from idn.swap.source_identity import save_identity
    from idn.training.build import check_acquainted

    path, out = _path(cfg, "weights"), _path(cfg, "out")
    require_int("crops", cfg.crops, 1)
    require_int("calibration", cfg.calibration, 1)
    if cfg.source is None:
        raise UserError("whose face? give source=PHOTO, or source=none for an app that lets people choose")
    formats = _formats(cfg)
    precisions = _listed(cfg.precision) if cfg.prepared is None else list(formats["onnx"].precisions)
    plan = Plan(formats, precisions, OmegaConf.to_container(cfg.floor), out)
    file = read_student_file(path)
    cfg.data.template = file.template or cfg.data.template
    if cfg.data.size != cfg.size:
        raise UserError(f"data.size={cfg.data.size} is no option here: say size={cfg.data.size}, the target's side")
    cfg.data.size = file.size if cfg.size is None else cfg.size
    if cfg.data.size is None:
        raise OptionError("size", None, "must be given: the student's file does not tell it")
    student = load_student(path).eval()
    check_size(cfg.data.size, student.stride)
    tell_size(file, cfg.size)
    encoder = build_acquainted(cfg)
    data = _framed_data(cfg, file.template)
    calibration = cfg.calibration if "int8" in precisions else 0
    if cfg.source == NOBODY:
        encoder = build(cfg.encoder, crop_template=encoder.template)
    file.check_encoder(encoder)
    check_acquainted(data, encoder)
    if cfg.source == NOBODY:
        product = dynamic_product(student, encoder, data, cfg.crops, calibration, cfg.blocks)
    else:
        who = _identity(cfg, encoder)
        product = bake_product(student, who, data, cfg.crops, calibration, cfg.blocks)
    write_all(path, product, data, plan, describe())
    if cfg.keep_identity and cfg.source != NOBODY:
        save_identity(out / "identity.safetensors", who, describe_encoder(encoder))
        print(f"identity   {out / 'identity.safetensors'}")


def tell_size(file: "StudentFile", size: int | None) -> None:
    """Say where a size is far from that of the training."""
    if (note := file.size_note(size)) is not None:
        print(f"note: {note}", file=sys.stderr)


def _path(cfg: DictConfig, name: str) -> Path:
    """The file or folder that an option names. Raises OptionError for a list or a group of options."""
    if OmegaConf.is_config(cfg[name]):
        raise OptionError(name, cfg[name], "must be one path")
    return Path(str(cfg[name]))


def _framed_data(cfg: DictConfig, framing: str | None) -> Any:
    """The data, in the framing that the file of a student names, if it does. Raises UserError for faces without it."""
    try:
        return build(cfg.data)
    except OptionError as error:
        if framing is None or error.argument != "data.template" or cfg.data.get("_target_") != PROCEDURAL:
            raise
        raise UserError(
            f"the student of weights={cfg.weights} knows faces aligned to {framing}, and data=procedural draws none: "
            "give data=faces data.root=DIR with crops of `idn align`"
        ) from None


def _formats(cfg: DictConfig) -> dict[str, Any]:
    """The chosen formats, or the one that `prepared` stands for."""
    if cfg.prepared is not None:
        from idn.export.replaced_weights import PreparedFormat

        if cfg.source == NOBODY:
            raise UserError("prepared=FILE wants a new person: add source=PHOTO")
        return {"onnx": PreparedFormat(_path(cfg, "prepared"))}
    if not cfg.get("format"):
        raise UserError("format=[] names no format: give one or more, such as format=[onnx]")
    return {name: build(form) for name, form in cfg.format.items()}


def _identity(cfg: DictConfig, encoder: Any) -> Any:
    """The person that `source=...` names, as the encoder sees them."""
    from idn.encoders.description import describe_encoder
    from idn.swap.source_identity import identity_of_crop, identity_of_photo, load_identity

    person = Path(str(cfg.source))
    if person.suffix == ".safetensors":
        return load_identity(person, describe_encoder(encoder))
    if cfg.aligned:
        return identity_of_crop(person, encoder)
    return identity_of_photo(person, encoder, cfg.data.template, partial(_detector, cfg, encoder))


def _detector(cfg: DictConfig, encoder: Any) -> Any:
    """What finds the face on the photograph `source`. Raises UserError if the encoder knows drawn faces only."""
    if getattr(encoder, "drawn_only", False):
        raise UserError(
            f"source={cfg.source} is a photograph, and this student reads an encoder that knows drawn faces only: "
            "export a student of photographs, or give the crop of a drawn face with aligned=true; "
            "encoder.photographs=true takes the photograph all the same"
        )
    return build(cfg.detector)


def bench(cfg: DictConfig) -> None:
    """Time every file of an export, and PyTorch."""
    from idn.export.bench.bench import bench as measure_all
    from idn.hardware import describe
    from idn.students.student_file import describe_student, read_student_file
    from idn.types import EncoderDescription

    paths = {name: None if cfg[name] is None else _path(cfg, name) for name in ("folder", "weights", "csv")}
    if paths["csv"] is not None:
        require_file("csv", paths["csv"])
    if paths["weights"] is not None:
        tell_size(read_student_file(paths["weights"]), cfg.size)
    student = paths["weights"] or describe_student(build(cfg.student)(EncoderDescription(*MEASURED)))
    measure_all(
        folder=paths["folder"],
        student=student,
        size=cfg.size,
        threads=_listed(cfg.threads),
        seconds=cfg.seconds,
        rounds=cfg.rounds,
        precision=None if cfg.precision is None else _listed(cfg.precision),
        run_programs=cfg.run_programs,
        csv_path=paths["csv"],
        machine=describe(),
    )


def install_converter(cfg: DictConfig) -> None:
    """Set up a converter in an environment of its own."""
    from idn.export.converters.environment import create

    print(f"ready: {create(cfg.name)}")


def import_published(cfg: DictConfig) -> None:
    """Turn a published MobileFaceSwap or a saved generator of MobileFSGAN into a student file of this project."""
    from idn.students.mobilefaceswap import published as mobilefaceswap
    from idn.students.mobilefsgan import published as mobilefsgan

    path_in, path_out = _path(cfg, "in"), _path(cfg, "out")
    require_file("out", path_out)
    generator = mobilefsgan.holds(path_in)
    (mobilefsgan if generator else mobilefaceswap).import_student(path_in, path_out)
    what = "the generator" if generator else "the injection network, head and fusion module"
    print(f"student {path_out}: {what} of {path_in.name}")
