"""Face detector: faces and their five landmarks in photographs of any size (YuNet, doi:10.1007/s11633-023-1423-y)."""

import math
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from kornia.contrib.face_detection import YuNet
from torch import Tensor
from torchvision.ops import box_iou, nms

from idn.data.alignment.crop import reduced, square
from idn.errors import OptionError
from idn.files.digests import weights_digest
from idn.files.option_checks import require_int, require_number
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen
from idn.images import from_uint8, resize, to_bgr255

WEIGHTS_URL = "https://github.com/kornia/data/raw/main/yunet_final.pth"
WEIGHTS_SHA256 = "ee0a3035c5cbfc9484a31332223c9fd9c0ddcdb7c46b6a19e558ed393b6f2c67"

_ANCHORS = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}
"""Step in pixels between the anchors of a level -> their sides in pixels."""

_HUGE = 8192
"""Pixels of a side from which a photograph is averaged to less before it is searched: the search makes copies of it."""
_NEAR = 100
"""Pixels of a face at which its landmarks come out best."""
_SIDES, _REACH = (96, 160), 0.9
"""Close-ups that are turned to see which way a face stands: sides in pixels, the second where the first leaves doubts,
and half width as a share of the face's longer side."""
CLEAR, _LEAD = 4.0, 1.0
"""Log-odds, and their lead over every quarter turn, from which there is no doubt that a face stands as it was found."""
_TILT = math.cos(math.radians(60))
"""Faces lean by less than 60 degrees; what leans more is one that the network sees where a turned one is."""


class Face(NamedTuple):
    """One face, in pixels of the photograph: x to the right, y down, (0, 0) at the corner of the first pixel."""

    box: Tensor
    """(4,) float64: left, top, right, bottom."""
    landmarks: Tensor
    """(5, 2) float64: left eye, right eye, nose tip, left and right mouth corner, as seen where the face is upright."""
    score: float
    """Confidence in [0, 1]."""

    @property
    def size(self) -> float:
        """Shorter side of the box in pixels."""
        return float((self.box[2:] - self.box[:2]).min())


class Detector(Protocol):
    """Finds faces."""

    def __call__(self, photo: Tensor) -> list[Face]:
        """photo: (3, H, W) uint8 RGB. Returns all faces, the largest first."""
        ...


def _network(weights: str | None) -> YuNet:
    """YuNet with published weights, from a file or from the torch hub."""
    path = Path(torch.hub.get_dir(), "checkpoints", "yunet_final.pth") if weights is None else Path(str(weights))
    if weights is None and not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(WEIGHTS_URL, str(path), WEIGHTS_SHA256)
        except (OSError, RuntimeError) as error:
            wanted = f"could not be fetched from {WEIGHTS_URL} ({error}): get that file another way and give its path"
            raise OptionError("weights", weights, wanted) from error
    net = YuNet("test", pretrained=False)
    load_strict(net, read_tensors(path), "YuNet face detector")
    return net


def _priors(height: int, width: int) -> Tensor:
    """(A, 3) anchors of an input whose sides are multiples of 64: centre x and y, side, all in pixels."""
    levels = []
    for step, sides in _ANCHORS.items():
        y, x = torch.meshgrid(torch.arange(height // step), torch.arange(width // step), indexing="ij")
        centres = (torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) * step
        side = torch.tensor(sides, dtype=torch.float32).view(1, -1, 1).expand(len(centres), -1, 1)
        levels.append(torch.cat([centres.expand(-1, len(sides), -1), side], -1).reshape(-1, 3))
    return torch.cat(levels)


class YuNetDetector(Frozen):
    """YuNet on a reduced copy of the photograph, with further attempts at other scales if it finds nothing.

    The network sees an upright face, with a high score, in many that stand on their head or lie on their side. So the
    largest face is looked at turned, and where that leaves doubts the photograph is searched in all four quarter turns.
    """

    def __init__(self, weights: str | None = None, longest: int = 320, threshold: float = 0.6, overlap: float = 0.3):
        """Load the published network strictly.

        weights: path of `yunet_final.pth`; None takes it from the torch hub's cache or fetches it. longest: pixels of
        the longer side of the searched copy. threshold: least confidence in [0, 1]. overlap: intersection over union
        above which two boxes are one face. Raises UserError for unusable weights, OptionError for numbers out of range.
        """
        super().__init__()
        require_int("longest", longest, 64)
        require_number("threshold", threshold, 0.001, 0.999)
        require_number("overlap", overlap, 0.001, 0.999)
        self.longest, self.threshold, self.overlap = longest, threshold, overlap
        self.net = _network(weights)
        digest = f"sha256:{weights_digest(self.net)[:16]}"
        self.settings = {"longest": longest, "threshold": threshold, "overlap": overlap, "weights": digest}
        """What the faces that it finds depend on."""
        self.freeze()
        self.net.to(memory_format=torch.channels_last)  # half the time of several pictures on a CPU

    @torch.inference_mode()
    def forward(self, photo: Tensor) -> list[Face]:
        """Find the faces of one photograph. photo: (3, H, W) uint8 RGB on the CPU. Returns them, the largest first.

        All stand the way the largest does, whose landmarks are those of the face whichever way that is: fitted to a
        template, they turn it upright. Of a photograph with a side above 8,192 pixels, an averaged copy is searched.
        """
        factor = -(-max(photo.shape[-2:]) // _HUGE)
        if factor > 1:
            return [_enlarged(face, factor) for face in self(reduced(photo, factor))]
        faces = self._find(photo)
        evidence, lead = self._standing(photo, faces, _SIDES[:1])
        if evidence > CLEAR and lead > _LEAD:
            return faces
        best = sum(self._standing(photo, faces, _SIDES))
        for turns in (1, 2, 3):
            turned = photo.rot90(turns, (1, 2))
            found = self.search(turned, self.longest) or self.search(turned, self.longest // 2, margin=0.4)
            found.sort(key=lambda face: face.size, reverse=True)
            if (standing := sum(self._standing(turned, found, _SIDES))) > best:
                best, faces = standing, [turned_back(face, turns, *photo.shape[-2:]) for face in found]
        return faces

    def _standing(self, photo: Tensor, faces: list[Face], sides: tuple[int, ...]) -> tuple[float, float]:
        """Log-odds that the first face is one, and their lead over the same place in any quarter turn.

        Means over close-ups of these sides, where neither saturates as the score does; -inf where there are no faces.
        """
        if not faces:
            return -math.inf, -math.inf
        box = faces[0].box
        middle, reach = (box[:2] + box[2:]) / 2, _REACH * float((box[2:] - box[:2]).max())
        left, top = (int(v) for v in (middle - reach).tolist())
        near = from_uint8(square(photo, left, top, max(2, math.ceil(2 * reach)))[None])
        near = near.to(next(self.parameters()).device)
        evidence = torch.stack([self.evidence(resize(near, side)) for side in sides]).mean(0)
        return float(evidence[0]), float(evidence[0] - evidence[1:].max())

    def evidence(self, near: Tensor) -> Tensor:
        """(1, 3, S, S) in [0, 1] -> (4,) log-odds that there is a face, after 0 to 3 quarter turns."""
        out = self.net(to_bgr255(torch.cat([near.rot90(turns, (2, 3)) for turns in range(4)])))
        return _log_odds(out["conf"]).amax(1)

    def _find(self, photo: Tensor) -> list[Face]:
        """The upright faces of a photograph, the largest first.

        Searches a copy of `longest` pixels; then, for faces that fill the picture, a copy of half that size with a
        border around it; then, for small faces in large photographs, copies of two and four times `longest`. The
        largest face, if it was small in its copy, is looked at again from near.
        """
        side = max(photo.shape[-2:])
        faces = self.search(photo, self.longest) or self.search(photo, self.longest // 2, margin=0.4)
        for zoom in (2, 4):
            if not faces and side > self.longest * zoom / 2:
                faces = self.search(photo, self.longest * zoom)
        faces.sort(key=lambda face: face.size, reverse=True)
        if faces and faces[0].size * min(1.0, self.longest / side) < _NEAR / 2:
            faces[0] = self._nearer(photo, faces[0])
        return faces

    def _nearer(self, photo: Tensor, face: Face) -> Face:
        """The same face, found again in a close-up that shows it at about `_NEAR` pixels."""
        middle, reach = (face.box[:2] + face.box[2:]) / 2, 1.25 * float((face.box[2:] - face.box[:2]).max())
        left, top = (max(0, int(v)) for v in (middle - reach).tolist())
        right, bottom = (math.ceil(v) for v in (middle + reach).tolist())
        found = self.search(photo[:, top:bottom, left:right], round(2.5 * _NEAR))
        if not found:
            return face
        best = max(found, key=lambda other: other.size)
        shift = best.box.new_tensor((left, top))
        return best._replace(box=best.box + shift.repeat(2), landmarks=best.landmarks + shift)

    def search(self, photo: Tensor, longest: int, margin: float = 0.0) -> list[Face]:
        """One attempt: the longer side shrunk to `longest` pixels, and a grey border of `margin` times that.

        photo: (3, H, W) uint8 RGB. Returns the faces that stand upright in it, the most certain first.
        """
        height, width = photo.shape[-2:]
        scale = min(1.0, longest / max(height, width))
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        copy = from_uint8(resize(photo[None], (h, w))).to(next(self.parameters()).device)
        pad = round(margin * max(h, w))
        right, bottom = -(w + 2 * pad) % 64 + pad, -(h + 2 * pad) % 64 + pad
        copy = F.pad(copy, (pad, right, pad, bottom), value=0.5 if pad else 0.0)
        found = self.decode(copy)[0]
        found[:, :14] = (found[:, :14] - pad) / found.new_tensor((w / width, h / height)).repeat(7)
        faces = [Face(row[:4], row[4:14].view(5, 2), float(row[14])) for row in found]
        return [face for face in faces if is_upright(face)]

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says of (N, 3, H, W) in [0, 1]: places (N, A, 14), classes (N, A, 2), overlaps (N, A, 1)."""
        out = self.net(to_bgr255(images))
        return out["loc"], out["conf"], out["iou"]

    def decode(self, images: Tensor, raw: tuple[Tensor, Tensor, Tensor] | None = None) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1], sides multiples of 64 -> N times (K, 15) float64: box, landmarks, score; in pixels of
        the images. Nothing is left out for the way it stands.

        Neighbouring anchors that see the same face are averaged: alone, each is off by some percent of the face.
        raw: what `raw` says of them, where that is known already.
        """
        places, classes, overlaps = self.raw(images) if raw is None else raw
        scores = (classes[..., 1] * overlaps[..., 0].clamp(0, 1)).sqrt()
        priors = _priors(*images.shape[-2:]).to(images.device)
        return [self._faces(places[row], scores[row], priors) for row in range(len(images))]

    def _faces(self, loc: Tensor, score: Tensor, priors: Tensor) -> Tensor:
        """(A, 14), (A,), (A, 3) of one image -> (K, 15) float64."""
        keep = score > self.threshold
        raw, anchors = loc[keep], priors[keep]
        centre, side = anchors[:, :2], anchors[:, 2:]
        middle = centre + 0.1 * raw[:, :2] * side
        half = side * (0.2 * raw[:, 2:4]).clamp(max=math.log(64)).exp() / 2
        points = centre.repeat(1, 5) + 0.1 * raw[:, 4:14] * side
        rows = torch.cat([middle - half, middle + half, points, score[keep, None]], 1)
        best = nms(rows[:, :4], rows[:, 14], self.overlap)
        votes = (box_iou(rows[best, :4], rows[:, :4]) > 0.5) * rows[:, 14]
        rows[best, :14] = votes @ rows[:, :14] / votes.sum(1, keepdim=True)
        return rows[best].double().cpu()


def _enlarged(face: Face, factor: int) -> Face:
    return face._replace(box=face.box * factor, landmarks=face.landmarks * factor)


def _log_odds(scores: Tensor) -> Tensor:
    """(N, A, 2) probabilities of background and face -> (N, A) log-odds, which do not saturate as probabilities do."""
    return scores.clamp(min=1e-9).log().diff(dim=-1)[..., 0]


def is_upright(face: Face) -> bool:
    """Whether the mouth is below the eyes, as seen in the picture that was searched."""
    right, down = (face.landmarks[3:].mean(0) - face.landmarks[:2].mean(0)).tolist()
    return down > _TILT * math.hypot(right, down)


def turned_back(face: Face, turns: int, height: int, width: int) -> Face:
    """A face of a photograph of that size after 1 to 3 quarter turns against the clock, where it is without them."""
    origin, x, y = {
        1: ((width, 0), (0, 1), (-1, 0)),
        2: ((width, height), (-1, 0), (0, -1)),
        3: ((0, height), (0, -1), (1, 0)),
    }[turns]
    matrix = face.box.new_tensor([x, y])
    corners = face.box.view(2, 2) @ matrix + face.box.new_tensor(origin)
    landmarks = face.landmarks @ matrix + face.box.new_tensor(origin)
    return face._replace(box=torch.cat([corners.amin(0), corners.amax(0)]), landmarks=landmarks)
