import builtins
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idn.errors import DamagedFile, FileError, ForeignFile, MissingFile, UnfitTensors, UserError
from idn.files.tensors import load_strict, read_metadata, read_tensors, strip_prefix, write_tensors
from tests.raising import raises

SHARED = Path(__file__).parents[2] / "../shared/weights"
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5, -2]), "n": torch.tensor(7)}


def same(got, expected=TENSORS):
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def arrays():
    return {name: tensor.numpy() for name, tensor in TENSORS.items()}


class Named:
    """Pickles as a tuple of a name and an array, the way Paddle writes a parameter inside a larger object."""

    def __init__(self, name, array):
        self.parts = (name, array)

    def __reduce__(self):
        return (tuple, (self.parts,))


class Calls:
    """Pickles as a call of any function: what an attacker would write."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"net": t, "x": {}}])
def test_torch_files(tmp_path, legacy, wrap):
    torch.save(wrap(OrderedDict(TENSORS)), tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    same(read_tensors(tmp_path / "w.pth"))


def test_a_lightning_checkpoint_gives_its_state_dict(tmp_path):
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}
    checkpoint = {"epoch": 1, "state_dict": TENSORS, "optimizer_states": [optimizer], "loss": torch.tensor(0.5)}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    same(read_tensors(tmp_path / "last.ckpt"))


def test_safetensors_and_their_metadata(tmp_path):
    write_tensors(tmp_path / "deep" / "w.safetensors", TENSORS, {"note": "kept"})
    same(read_tensors(tmp_path / "deep" / "w.safetensors"))
    assert read_metadata(tmp_path / "deep" / "w.safetensors") == {"note": "kept"}
    save_file(TENSORS, tmp_path / "plain.safetensors")
    assert read_metadata(tmp_path / "plain.safetensors") == {}
    torch.save(TENSORS, tmp_path / "w.pth")
    assert read_metadata(tmp_path / "w.pth") == {}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("old_numpy", [False, True])
def test_paddle_state_dicts(tmp_path, protocol, old_numpy):
    raw = pickle.dumps({**arrays(), "StructuredToParameterName@@": {"a.weight": "linear_0.w_0"}}, protocol)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    if protocol == 4:
        new, old = (b"\x8c" + bytes([len(name)]) + name for name in (new, old))
    if old_numpy and new in raw:
        raw = unframed(raw) if protocol == 4 else raw
        raw = raw.replace(new, old)
    (tmp_path / "w.pdparams").write_bytes(raw)
    same(read_tensors(tmp_path / "w.pdparams"))


def unframed(raw: bytes) -> bytes:
    """A protocol 4 pickle without its template, whose length would no longer be right."""
    assert raw[2:3] == b"\x95"
    return raw[:2] + raw[11:]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_checkpoints_with_named_tensors(tmp_path, protocol):
    net = OrderedDict((name, Named(f"param_{name}", array)) for name, array in arrays().items())
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"net": net, "epoch": 3}, protocol))
    same(read_tensors(tmp_path / "w.pdparams"))


def test_paddle_arrays_of_other_orders_and_types(tmp_path):
    odd = {
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "swapped": np.arange(4, dtype=">f4"),
        "half": np.arange(4, dtype=np.float16),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
    }
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(odd, 4))
    same(
        read_tensors(tmp_path / "w.pdparams"),
        {
            "fortran": torch.arange(6.0).reshape(2, 3),
            "swapped": torch.arange(4.0),
            "half": torch.arange(4).half(),
            "empty": torch.zeros(0, 3),
            "flags": torch.tensor([True, False]),
        },
    )


@pytest.fixture
def foreign_classes():
    """Classes of modules that exist while a file is written and are gone when it is read."""
    sources = {"models.resnets": ["Block", "Net"], "models": [], "margin": ["Margin"], "optimizer": ["Optimizer"]}
    made = {}
    for name, classes in sources.items():
        module = sys.modules[name] = types.ModuleType(name)
        for each in classes:
            base = dict if each == "Optimizer" else nn.Module
            made[each] = type(each, (base,), {"__module__": name})
            setattr(module, each, made[each])
    yield made
    for name in sources:
        sys.modules.pop(name, None)


def foreign_network(made):
    torch.manual_seed(0)
    net, block = made["Net"](), made["Block"]()
    block.conv, block.norm, block.act = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.PReLU()
    net.layer = nn.Sequential(block, nn.Dropout())
    net.head = nn.Linear(4, 2)
    net.tied = net.head
    net.register_buffer("scratch", torch.zeros(3), persistent=False)
    net.register_parameter("nothing", None)
    net.low = nn.Linear(2, 2).half()
    net.low.weight = nn.Parameter(net.low.weight.t())
    return net


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("old_layout", [False, True])
def test_pickled_modules_of_unknown_classes(tmp_path, foreign_classes, legacy, old_layout):
    net = foreign_network(foreign_classes)
    value = net
    if old_layout:
        margin, optimizer = foreign_classes["Margin"](), foreign_classes["Optimizer"](lr=0.1)
        margin.weight = nn.Parameter(torch.zeros(5, 2))
        optimizer.state = defaultdict(dict, {0: {"momentum_buffer": torch.ones(2)}})
        wrapped = nn.DataParallel(net)
        value = {"epoch": 3, "acc": np.float64(0.9), "model": wrapped, "metric_fc": margin, "optimizer": optimizer}
    path = tmp_path / "arcface_checkpoint.tar"
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    for name in ("models", "models.resnets", "margin", "optimizer"):
        sys.modules.pop(name)
    same(read_tensors(path), net.state_dict())
    assert "models" not in sys.modules


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Calls(os.system, "touch {}"), f"{os.system.__module__}.system"),
        (Calls(builtins.eval, "open('{}', 'w')"), "eval"),
        (Calls(builtins.exec, "open('{}', 'w')"), "exec"),
        (Calls(builtins.getattr, "x", "upper"), "getattr"),
        (Calls(builtins.open, "{}", "w"), "open"),
        (Calls(types.SimpleNamespace), "types.SimpleNamespace"),
    ],
)
def test_calls_are_refused_by_name_and_never_made(tmp_path, protocol, call, name):
    victim = tmp_path / "victim"
    function, args = call.call
    value = {"w": Calls(function, *(arg.replace("{}", str(victim)) for arg in args))}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(value, protocol))
    torch.save(value, tmp_path / "zip.pth", pickle_protocol=protocol)
    torch.save(value, tmp_path / "old.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    for file in ("w.pdparams", "zip.pth", "old.pth"):
        with raises(FileError, name, path=tmp_path / file):
            read_tensors(tmp_path / file)
    assert not victim.exists()


def test_paddle_files_may_not_name_other_classes(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"w": torch.nn.Identity}, 4))
    with raises(FileError, "torch.nn.modules.linear.Identity", path=tmp_path / "w.pdparams"):
        read_tensors(tmp_path / "w.pdparams")


def test_paddle_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"w": np.array([{}], dtype=object)}, 4))
    with raises(DamagedFile, path=tmp_path / "w.pdparams"):
        read_tensors(tmp_path / "w.pdparams")


@pytest.mark.parametrize(
    ("content", "kind", "named"),
    [
        (b"", DamagedFile, []),
        (b"\x80", ForeignFile, []),
        (b"hello", ForeignFile, []),
        (b"\n<!DOCTYPE html><html></html>", ForeignFile, ["web page"]),
        (b"<html><body>quota</body></html>", ForeignFile, ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", ForeignFile, ["Git LFS"]),
        (b"\x08\x08\x12\x07pytorch\x1a\x032.0:\x00", ForeignFile, ["ONNX"]),
        (b"\0" * 257 + b"ustar\0" + b"\0" * 300, ForeignFile, ["tar archive"]),
        (b"\x80\x04N.", ForeignFile, []),
        (pickle.dumps({"epoch": 3}, 4), ForeignFile, []),
        (pickle.dumps([1, 2], 2), ForeignFile, []),
        (pickle.dumps({"a": {"x": np.zeros(1)}, "b": {"x": np.zeros(1)}}, 4), ForeignFile, ["a, b"]),
        (b"PK\x03\x04" + b"\0" * 100, DamagedFile, []),
    ],
)
def test_other_files_get_one_clear_sentence(tmp_path, content, kind, named):
    (tmp_path / "file").write_bytes(content)
    with raises(kind, *named, path=tmp_path / "file") as error:
        read_tensors(tmp_path / "file")
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with raises(MissingFile, path=path):
            read_tensors(path)
        with raises(MissingFile, path=path):
            read_metadata(path)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "paddle", "module-zip", "module-legacy"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_files_cut_short_are_reported(tmp_path, foreign_classes, kind, kept):
    path = tmp_path / "file"
    value = {"w": torch.randn(200), "v": torch.randn(300)}
    if kind == "safetensors":
        save_file(value, path)
    elif kind == "paddle":
        path.write_bytes(pickle.dumps({k: v.numpy() for k, v in value.items()}, 4))
    else:
        content = foreign_network(foreign_classes) if kind.startswith("module") else value
        torch.save(content, path, _use_new_zipfile_serialization=kind.endswith("zip"))
    assert read_tensors(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    with raises(DamagedFile, path=path):
        read_tensors(path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_told_apart(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with raises(ForeignFile, "TorchScript", path=tmp_path / "w.pt"):
        read_tensors(tmp_path / "w.pt")


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_strict_loading_copies_everything():
    source, net = network(), network()
    source[1].running_mean += 3
    source[1].num_batches_tracked += 5
    load_strict(net, source.state_dict(), "w.pt")
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in source.state_dict().items())


def test_strict_loading_forgives_only_the_missing_batch_counter():
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    load_strict(network(), state, "w.pt")
    del state["1.running_var"]
    with raises(UnfitTensors, "w.pt", missing=["1.running_var"], extra=[], misshaped=[]):
        load_strict(network(), state, "w.pt")


def test_strict_loading_names_faults_and_changes_nothing():
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in net.state_dict().items()}
    state |= {f"extra.{i}": torch.zeros(1) for i in range(5)}
    state["0.weight"] = torch.zeros(2, 4)
    with pytest.raises(UserError) as error:
        load_strict(net, state, "w.pt")
    message = str(error.value)
    assert "5 extra (extra.0, extra.1, extra.2, ...)" in message
    assert "1 mis-shaped (0.weight: file (2, 4), network (2, 3))" in message
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("key", "number"), [("0.weight", float("nan")), ("0.bias", float("inf")), ("1.running_var", -1)]
)
def test_strict_loading_refuses_numbers_that_no_network_has(key, number):
    net = network()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    state[key].flatten()[0] = number
    with raises(UserError, "w.pt", f"({key})", "get it again"):
        load_strict(net, state, "w.pt")
    assert all(bool(v.isfinite().all()) for v in net.state_dict().values())


def test_strict_loading_recognises_another_network():
    with raises(UnfitTensors, "another network", extra=["conv.weight"]):
        load_strict(network(), {"conv.weight": torch.zeros(1)}, "w.pt")


@pytest.mark.parametrize("name", ["mobilefacenet.pt", "yunet_final.pth"])
def test_real_files(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not at hand")
    tensors = read_tensors(SHARED / name)
    assert len(tensors) > 100
    assert all(tensor.device.type == "cpu" for tensor in tensors.values())


def test_a_file_of_a_future_pytorch_asks_for_an_update(tmp_path):
    now, future = tmp_path / "now.pt", tmp_path / "future.pt"
    torch.save({"w": torch.zeros(2)}, now)
    with zipfile.ZipFile(now) as source, zipfile.ZipFile(future, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, b"99\n" if name.endswith("/version") else source.read(name))
    with raises(ForeignFile, torch.__version__, path=future):
        read_tensors(future)


def test_a_file_saved_on_a_gpu_is_read_without_one(tmp_path):
    here, there = tmp_path / "cpu.pt", tmp_path / "cuda.pt"
    torch.save({"w": torch.arange(3.0)}, here)
    place, other = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    with zipfile.ZipFile(here) as source, zipfile.ZipFile(there, "w") as copy:
        entry = next(name for name in source.namelist() if name.endswith("/data.pkl"))
        assert place in source.read(entry)
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, content.replace(place, other) if name == entry else content)
    assert torch.equal(read_tensors(there)["w"], torch.arange(3.0))


WRAPPED = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net._orig_mod.", "a.b.c.")


@pytest.mark.parametrize("prefix", WRAPPED)
def test_one_prefix_before_every_key_is_no_other_network(tmp_path, prefix):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    saved = {f"{prefix}{key}": value + 1 for key, value in net.state_dict().items()}
    torch.save({"state_dict": saved, "epoch": 3}, tmp_path / "wrapped.ckpt")
    load_strict(net, read_tensors(tmp_path / "wrapped.ckpt"), "wrapped.ckpt")
    assert all(torch.equal(saved[f"{prefix}{key}"], value) for key, value in net.state_dict().items())
    with pytest.raises(UnfitTensors) as error:
        load_strict(nn.Linear(2, 2), read_tensors(tmp_path / "wrapped.ckpt"), "wrapped.ckpt")
    assert any(key.endswith("0.weight") for key in error.value.extra)


def test_a_prefix_of_some_keys_is_another_network(tmp_path):
    net = nn.Linear(2, 2)
    torch.save({"model.weight": net.weight, "model.bias": net.bias, "margin": torch.ones(1)}, tmp_path / "a.pt")
    with raises(UnfitTensors, missing=["weight", "bias"], extra=["model.weight", "model.bias", "margin"]):
        load_strict(net, read_tensors(tmp_path / "a.pt"), "a.pt")


def test_a_network_whose_own_keys_begin_so_is_read_back(tmp_path):
    for name in ("module", "_orig_mod", "model"):
        net = nn.Module()
        net.add_module(name, nn.Linear(2, 2))
        write_tensors(tmp_path / "own.safetensors", net.state_dict())
        load_strict(net, read_tensors(tmp_path / "own.safetensors"), "own.safetensors")


def test_the_shortest_prefix_goes_and_names_decide():
    tensors = {"a.b.weight": torch.zeros(1), "a.b.bias": torch.zeros(1)}
    assert list(strip_prefix(tensors, ["b.weight"])) == ["b.weight", "b.bias"]
    assert list(strip_prefix(tensors, ["weight", "b.weight"])) == ["b.weight", "b.bias"]
    assert strip_prefix(tensors, ["other"]) == tensors and strip_prefix({}, ["other"]) == {}
