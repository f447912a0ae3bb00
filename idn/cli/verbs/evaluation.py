"""Verbs that judge: `idn eval` and `idn compare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import build
from idn.cli.options.composition import choices, search
from idn.cli.options.preflight import missing_files
from idn.cli.options.typed import refuse_passed_on
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_file

if TYPE_CHECKING:
    import torch

    from idn.evaluation.methods.method import Method
    from idn.evaluation.pairs.pair_set import PairSet


def evaluate(cfg: DictConfig) -> None:
    """Score methods on the pairs of a protocol, and leave a report."""
    from idn.evaluation.evaluate import Evaluation
    from idn.evaluation.report.report import write_report
    from idn.hardware import choose_device

    refuse_passed_on({"data.size": "protocol.size", "data.template": "protocol.template"})
    device = choose_device(cfg.device)
    nodes = {name: _teacher_node(cfg, name) for name in _teacher_names(cfg)}
    pair_set, encoder = build(cfg.protocol), build(cfg.encoder)
    if cfg.baselines is None:
        usual = ["target_itself"] if pair_set.photographs else ["target_itself", "truth"]
        nodes |= {name: _teacher_node(cfg, name) for name in usual if name not in nodes}
    methods = _methods(cfg, nodes, pair_set, encoder, device)
    landmarks, reason = _landmarks(cfg)
    if cfg.get("recogniser") is None:
        raise UserError("recogniser=null leaves nobody to say who is who: choose one, such as procedural or dlib")
    recogniser = build(cfg.recogniser)
    if pair_set.photographs and getattr(recogniser, "drawn_only", False):
        raise UserError(
            "the recogniser knows drawn faces only, and the protocol shows photographs: take recogniser=dlib"
        )
    networks = {name: network for name, node in cfg.networks.items() if (network := _with_weights(node)) is not None}
    missing = ", ".join(name for name in cfg.networks if name not in networks)
    evaluation = Evaluation(
        pair_set=pair_set,
        methods=methods,
        teacher=next(iter(_listed(cfg.teachers)), None),
        encoder=encoder,
        recogniser=recogniser,
        out=Path(str(cfg.out)),
        batch=cfg.batch,
        device=device,
        landmarks=landmarks,
        no_landmarks=reason,
        lpips=_with_weights(cfg.lpips),
        no_lpips="lpips.weights names no file: torchvision's VGG16, AlexNet or SqueezeNet 1.1",
        extractor=_with_weights(cfg.inception),
        networks=networks,
        no_networks=[f"no {missing}: networks.NAME.weights name no files"] if missing else [],
        same_recogniser=cfg.same_recogniser,
        detector=build(cfg.detector) if cfg.check_faces else None,
    )
    loggers = {} if cfg.get("logger") is None else build(cfg.logger)  # one that is not installed says so at once
    evaluation.run()
    summary = write_report(evaluation.out)
    _log(loggers, summary, evaluation.out)


def _log(loggers: Mapping[str, Any], summary: Mapping[str, Any], out: Path) -> None:
    """Hand the numbers to experiment trackers, and the page to dashboards."""
    from idn.evaluation.report.page import PAGE
    from idn.training.dashboards import Dashboard
    from idn.training.loggers import closing

    kept = [logger for logger in loggers.values() if logger is not None]
    numbers = {
        f"eval/{method['name']}/{name}": value["value"]
        for method in summary["methods"]
        for name, value in method["values"].items()
        if value["value"] is not None
    }
    with closing(kept):
        for logger in kept:
            logger.log_metrics(numbers, step=0)
            if isinstance(logger, Dashboard):
                logger.log_report(out / PAGE)
            logger.finalize("success")


def compare(cfg: DictConfig) -> None:
    """Put evaluations of one protocol side by side."""
    from idn.evaluation.compare import compare as side_by_side

    csv_path = None if cfg.csv is None else Path(str(cfg.csv))
    if csv_path is not None:
        require_file("csv", csv_path)
    side_by_side([Path(str(folder)) for folder in _listed(cfg.reports)], csv_path)


def _methods(
    cfg: DictConfig, nodes: Mapping[str, DictConfig], pair_set: "PairSet", encoder: Any, device: "torch.device"
) -> "list[Method]":
    """Everything under test: teachers, students, exported files, results, baselines."""
    from idn.evaluation.methods.exported import exported_methods
    from idn.evaluation.methods.results import ResultsMethod
    from idn.evaluation.methods.student import StudentMethod
    from idn.evaluation.methods.teacher import TeacherMethod

    students = _named(cfg.students, "students")
    if students and pair_set.photographs and getattr(encoder, "drawn_only", False):
        raise UserError(
            "the encoder knows drawn faces only, and the protocol shows photographs: add encoder=mobilefacenet "
            "encoder.weights=FILE, or whichever encoder the students were trained with"
        )
    template, size = pair_set.template, pair_set.size

    def asked(name: str) -> "Method":
        options = {key: value for key, value in _options(nodes[name]).items() if key not in ("weights", "path")}
        return TeacherMethod(name, build(nodes[name]), encoder, pair_set, device, options)

    teachers = _listed(cfg.teachers)
    found: list[Method] = [asked(name) for name in teachers]
    found += [StudentMethod(n, path, encoder, template, size, device) for n, path in students.items()]
    for name, path in _named(cfg.exported, "exported").items():
        found += exported_methods(name, path, template, cfg.run_programs)
    found += [ResultsMethod(name, path, pair_set.names, size) for name, path in _named(cfg.results, "results").items()]
    return found + [asked(name) for name in nodes if name not in teachers]


def _options(node: DictConfig) -> dict[str, Any]:
    """The options of a teacher that are plain values."""
    options = OmegaConf.to_container(node, resolve=True)
    return {key: value for key, value in options.items() if key != "_target_" and not isinstance(value, dict)}


def _landmarks(cfg: DictConfig) -> tuple[Any, str]:
    """What finds landmarks, or nothing and the reason why."""
    if cfg.landmarks is None:
        return None, "landmarks=null"
    try:
        return build(cfg.landmarks), ""
    except UserError as error:
        if cfg.landmarks.get("path") is not None:
            raise
        return None, str(error)


def _with_weights(node: DictConfig | None) -> Any:
    """What a network's config builds; None where it names no file."""
    return None if node is None or node.weights is None else build(node)


def _teacher_names(cfg: DictConfig) -> list[str]:
    """Of all teachers and baselines. Raises UserError for one that does not exist or is named twice."""
    names = [*_listed(cfg.teachers), *_listed(cfg.baselines)]
    known = choices(HydraConfig.get(), "teacher")
    for name in names:
        if name not in known:
            raise UserError(f"{name} is no teacher: choose of {', '.join(known)}")
        if names.count(name) > 1:
            raise UserError(f"{name} is named twice in teachers and baselines: name it once")
    if unknown := cfg.teacher_options.keys() - set(names):
        raise UserError(
            f"teacher_options.{unknown.pop()} is of no teacher that is asked: name it in teachers or baselines"
        )
    return names


def _teacher_node(cfg: DictConfig, name: str) -> DictConfig:
    """The config of a teacher for the crops of the protocol. Raises UserError for options or files that it lacks."""
    described = compose("train", [*search(HydraConfig.get().overrides.hydra), f"teacher={name}"])
    for key in ("encoder", "weights_dir", "seed"):
        described[key] = cfg[key]
    described.data = OmegaConf.to_container(cfg.data, resolve=True)
    given = cfg.teacher_options.get(name) or {}
    if unknown := given.keys() - described.teacher.keys():
        known = ", ".join(key for key in described.teacher if key != "_target_")
        raise UserError(f"teacher_options.{name}.{unknown.pop()} does not exist: choose of {known}")
    described.teacher = OmegaConf.merge(described.teacher, given)
    if missing := sorted(OmegaConf.missing_keys(described.teacher)):
        key = missing[0].removeprefix("teacher.")
        raise UserError(f"teacher {name} has no {key} yet: give +teacher_options.{name}.{key}=VALUE")
    if said := missing_files(f"teacher {name}", described.teacher, cfg.weights_dir):
        raise UserError(said)
    return described.teacher


def _listed(value: Any) -> list[Any]:
    """Nothing, one value or several, as a list."""
    return [] if value is None else list(value) if OmegaConf.is_list(value) else [value]


def _named(value: Any, option: str) -> dict[str, Path]:
    """Files or folders by the names that a report calls them: given ones, or as little of their paths as tells them
    apart. Raises OptionError for what is neither a path, nor a list or mapping of paths."""
    if OmegaConf.is_dict(value):
        return {str(name): Path(str(path)) for name, path in value.items()}
    paths = [Path(str(path)) for path in _listed(value)]
    if any(OmegaConf.is_config(path) for path in _listed(value)):
        raise OptionError(option, value, "must be paths, or names with paths")
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.with_suffix("").parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    if paths:
        raise OptionError(option, value, "names a path twice: name each once")
    return {}
