"""Folder layout of FSTriplets: which pictures are partners, who is on them, and what does not fit.

vanilla/                                   photographs, in any folders
edited_target/original/<set>/x.png         photographs of one person per set
edited_target/edited/<set...>/x.png        the same, edited; the name of the folder begins with that of the set
source_as_gt/<class>/x.original.png        and x.edited.png beside it: the edit changes who it is
target_as_gt/<class>/x.original.png        and x.edited.png beside it: the edit changes all but who it is
shapenet_png/                              things that may lie in front of a face
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from idn.data.folder_scan import unfit_crops
from idn.data.photo_folder import is_flat
from idn.errors import OptionError
from idn.files.photos import list_photos, printable

VANILLA, EDITED_TARGET, OCCLUDERS = "vanilla", "edited_target", "shapenet_png"
PAIRED = ("source_as_gt", "target_as_gt")
KINDS = (VANILLA, EDITED_TARGET, *PAIRED)
ORIGINAL, EDITED = ".original.", ".edited."
_NAMED = 3
"""Pictures of a kind that are named in a sentence."""


class Shown(NamedTuple):
    """A photograph and who is on it."""

    who: str
    name: str


class Pair(NamedTuple):
    """A photograph and its edited version."""

    who: str
    original: str
    edited: str


class EditedTarget(NamedTuple):
    """A photograph, its edited versions, and other photographs of that person."""

    who: str
    original: str
    edited: tuple[str, ...]
    others: tuple[str, ...]


@dataclass
class Tree:
    """What a folder of triplets holds; all names are POSIX paths relative to it."""

    root: Path
    vanilla: list[Shown] = field(default_factory=list)
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    """By class, such as "source_as_gt/beard"; classes whose folder is there."""
    edited_target: list[EditedTarget] = field(default_factory=list)
    occluders: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Why pictures are not used -> which."""

    def classes(self) -> dict[str, list[Shown] | list[Pair] | list[EditedTarget]]:
        """What is there by class, the empty ones, too."""
        return {VANILLA: self.vanilla, EDITED_TARGET: self.edited_target, **self.pairs}

    def drop_unfit(self, known: Collection[str]) -> None:
        """Leave out what holds a picture that cannot be read or is not square. known: pictures that need no look."""
        names = {name for found in self.classes().values() for one in found for name in _names(one)}
        broken, odd = unfit_crops(self.root, sorted(names.difference(known)))
        for reason, unfit in (("unreadable", broken), ("not square", odd)):
            if unfit:
                self.left_out[reason] += [f"{name}: {why}" for name, why in unfit.items()]
        bad = broken.keys() | odd.keys()
        self.vanilla = [one for one in self.vanilla if one.name not in bad]
        self.pairs = {name: [one for one in of if bad.isdisjoint(_names(one))] for name, of in self.pairs.items()}
        whole = [one for one in self.edited_target if one.original not in bad]
        self.edited_target = [
            one._replace(edited=edited, others=tuple(o for o in one.others if o not in bad))
            for one in whole
            if (edited := tuple(e for e in one.edited if e not in bad))
        ]

    def report(self) -> str:
        """What is not used and why, for the end of a line; empty if there is nothing."""
        said = []
        for reason, names in self.left_out.items():
            more = ", ..." if len(names) > _NAMED else ""
            said.append(f"{len(names)} {reason} ({', '.join(names[:_NAMED])}{more})")
        return printable("; ".join(said))


def _names(one: Shown | Pair | EditedTarget) -> tuple[str, ...]:
    """The pictures that must be there."""
    if isinstance(one, EditedTarget):
        return (one.original, *one.edited)
    return (one.name,) if isinstance(one, Shown) else (one.original, one.edited)


def scan_tree(root: Path, layout: str = "auto", known: Collection[str] = ()) -> Tree:
    """Look through a folder of triplets; pictures without a partner, unreadable and not square ones are left out.

    known: pictures that are known to be whole and need no look.
    layout: who is on a picture outside of edited_target: "flat", its own name says it; "identities", the folder below
    that of its class does; "auto" looks which of the two `vanilla`, or else the classes, seem to be.
    Raises OptionError if the folder is missing, holds none of the known folders, or no triplet.
    """
    if not root.is_dir():
        raise OptionError("root", root, "is not a folder: give one made by `idn triplets`, or a copy of FSTriplets")
    if not any((root / kind).is_dir() for kind in KINDS):
        there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))[:5]
        wanted = f"holds none of the folders {', '.join(KINDS)}, but {', '.join(there) or 'nothing'}: it is no folder"
        raise OptionError("root", root, printable(f"{wanted} of triplets, give one made by `idn triplets`"))
    tree = Tree(root)
    who = _who(root, layout)
    tree.vanilla = [Shown(who(VANILLA, name), name) for name in _pictures(root, VANILLA)]
    for kind in PAIRED:
        for path in sorted(p for p in (root / kind).glob("*/") if p.is_dir() and not p.name.startswith(".")):
            tree.pairs[f"{kind}/{path.name}"] = _pairs(tree, f"{kind}/{path.name}", who)
    tree.edited_target = _edited_targets(tree)
    tree.occluders = _pictures(root, OCCLUDERS)
    tree.drop_unfit(known)
    if not any(tree.classes().values()):
        said = f", but {tree.report()}" if tree.left_out else ""
        wanted = f"holds no triplet and no photograph{said}: give one made by `idn triplets`, or a copy of FSTriplets"
        raise OptionError("root", root, wanted)
    return tree


def partner(name: str) -> str | None:
    """Name of the other version of a picture; None for one that is not called `.original.` or `.edited.`."""
    path = PurePosixPath(name)
    for mark, other in ((ORIGINAL, EDITED), (EDITED, ORIGINAL)):
        head, found, tail = path.name.rpartition(mark)
        if found:
            return str(path.with_name(f"{head}{other}{tail}"))
    return None


def _pictures(root: Path, folder: str) -> list[str]:
    """Photographs below a folder, relative to the root; none where it is not there."""
    if not (root / folder).is_dir():
        return []
    return [f"{folder}/{name}" for name in list_photos(root / folder).names]


def _who(root: Path, layout: str) -> Callable[[str, str], str]:
    """(class, name) -> who is on the picture."""
    names = [name.partition("/")[2] for name in _pictures(root, VANILLA)]
    if not names:
        found = [name.split("/", 2)[2] for kind in PAIRED for name in _pictures(root, kind) if name.count("/") > 1]
        names = found or ["one"]
    flat = is_flat(root, names, layout)

    def who(folder: str, name: str) -> str:
        inner = PurePosixPath(name).relative_to(folder)
        if not flat and len(inner.parts) > 1:
            return inner.parts[0]
        stem = inner.name
        for mark in (ORIGINAL, EDITED):
            stem = stem.replace(mark, ".")
        return PurePosixPath(stem).stem

    return who


def _pairs(tree: Tree, folder: str, who: Callable[[str, str], str]) -> list[Pair]:
    """The pairs of a class."""
    names = _pictures(tree.root, folder)
    known, found = set(names), []
    for name in names:
        other = partner(name)
        if other is None:
            tree.left_out[f"called neither *{ORIGINAL}* nor *{EDITED}*"].append(name)
        elif other not in known:
            tree.left_out["without partner"].append(name)
        elif ORIGINAL in PurePosixPath(name).name:
            found.append(Pair(who(folder, name), name, other))
    return found


def _edited_targets(tree: Tree) -> list[EditedTarget]:
    """Photographs of the sets that have edited versions. A folder of those belongs to the longest name it begins with.

    Versions may differ in their ending: x.jpg may have been edited to x.png.
    """
    before, after = (f"{EDITED_TARGET}/{part}" for part in ("original", "edited"))
    inner = [name.removeprefix(f"{before}/") for name in _pictures(tree.root, before)]
    sets = sorted({name.split("/")[0] for name in inner if "/" in name}, key=len, reverse=True)
    versions: dict[str, list[str]] = defaultdict(list)
    for name in _pictures(tree.root, after):
        folder, _, rest = name.removeprefix(f"{after}/").partition("/")
        owner = next((of for of in sets if folder.startswith(of)), None)
        versions["" if owner is None else f"{owner}/{PurePosixPath(rest).with_suffix('')}"].append(name)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in inner:
        groups[str(PurePosixPath(name).parent)].append(f"{before}/{name}")
    found = []
    for name in inner:
        edited = versions.pop(str(PurePosixPath(name).with_suffix("")), [])
        if "/" not in name:
            tree.left_out["outside of the folder of a set"].append(f"{before}/{name}")
        elif edited:
            others = tuple(other for other in groups[str(PurePosixPath(name).parent)] if other != f"{before}/{name}")
            found.append(EditedTarget(name.split("/")[0], f"{before}/{name}", tuple(edited), others))
    for names in versions.values():
        tree.left_out["without partner"] += names
    return found
