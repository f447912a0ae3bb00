"""Swap a face with an exported network. Needs ONNX Runtime, NumPy and Pillow; nothing of PyTorch.

    python swap.py swap PHOTO.jpg OUT.png --product FOLDER --landmarks LANDMARKS
    python swap.py identity SOURCE.jpg WHO.npy --product FOLDER --landmarks LANDMARKS
    python swap.py swap PHOTO.jpg OUT.png --product FOLDER --landmarks LANDMARKS --identity WHO.npy

The first line serves the network of one identity, the other two a product that takes any. LANDMARKS are ten numbers
`x1,y1,...,x5,y5` or a JSON file of five [x, y]: left eye, right eye, nose, left and right mouth corner as seen in the
image, in pixels of the upright photo, whose first pixel spans 0 to 1. `--yunet MODEL.onnx` finds them with OpenCV.

Positions are continuous: pixel (i, j) has its centre at (i + 0.5, j + 0.5). Matrices are (2, 3) and map a point p to
m[:, :2] @ p + m[:, 2].
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin
from watermark import mark  # the file beside this one

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]

SOLID = 0.25
"""From this mask value on, the pixel of the crop replaces that of the photo; below, they are blended."""
FEATHER = 0.1
"""Width of the blended border of the crop, as a share of its side."""
MISFIT = 0.1
"""Largest root mean square error of the alignment, as a share of the side, that still looks like a face."""
NOTES = {
    "Software": "IDN (idn-distill)",
    "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "Comment": "Contains faces made by a face-swapping network; they are not photographs of anybody.",
}
"""What the written picture says about itself."""
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="{Software}" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{DigitalSourceType}"/></rdf:RDF></x:xmpmeta>'
).format(**NOTES)
"""The same for programs that read XMP."""


def fit_similarity(points: Floats, onto: Floats) -> Floats:
    """Rotation, uniform scale and shift that map `points` onto `onto`, (K, 2) both, with the least squared error."""
    mean_p, mean_q = points.mean(0), onto.mean(0)
    p, q = points - mean_p, onto - mean_q
    norm = (p * p).sum()
    if not norm > 0:
        raise ValueError("the landmarks are one and the same point: give five points of a face")
    a = (p * q).sum() / norm
    b = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / norm
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, mean_q - linear @ mean_p])


def invert(matrix: Floats) -> Floats:
    """The inverse of a (2, 3) similarity."""
    linear = matrix[:, :2].T / np.linalg.det(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def align(landmarks: Floats, template: Floats, size: int) -> Floats:
    """Matrix from pixels of the photo to pixels of the crop.

    landmarks: (5, 2) in pixels; template: (5, 2), where they lie in a crop whose corners are (0, 0) and (1, 1).
    Raises ValueError if the landmarks are no face in the expected order.
    """
    onto = fit_similarity(landmarks, template * size)
    error = landmarks @ onto[:, :2].T + onto[:, 2] - template * size
    if not math.sqrt((error**2).sum(1).mean()) <= MISFIT * size:
        raise ValueError(
            "the landmarks do not form a face: give left eye, right eye, nose, left and right mouth corner, "
            "where left and right are those of the picture"
        )
    return onto


def bilinear(picture: NDArray, x: Floats, y: Floats) -> Floats:
    """Values of an (H, W, C) picture at positions x and y, equal shapes (...). Outside, the border goes on."""
    height, width = picture.shape[:2]
    x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = ((v - whole)[..., None].astype(np.float32) for v, whole in ((x, left), (y, top)))
    upper = picture[top, left] * (1 - fx) + picture[top, right] * fx
    lower = picture[bottom, left] * (1 - fx) + picture[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def resample(picture: NDArray, matrix: Floats, width: int, height: int) -> Floats:
    """Draw a new picture, (height, width, C), by a matrix from its pixels to those of an (H, W, C) picture.

    Where one step in the new picture is n pixels long in the old one, each new pixel averages n x n samples.
    """
    n = max(1, math.ceil(math.hypot(matrix[0, 0], matrix[1, 0]) - 1e-6))
    total = np.zeros((height, width, picture.shape[2]), np.float32)
    for row in range(n):
        for column in range(n):
            u = np.arange(width)[None, :] + (column + 0.5) / n
            v = np.arange(height)[:, None] + (row + 0.5) / n
            x = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
            y = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
            total += bilinear(picture, x, y)
    return total / (n * n)


def cut(photo: Bytes, onto: Floats, size: int) -> NDArray[np.float32]:
    """The crop that a network takes, (1, 3, size, size) RGB in [0, 1]. photo: (H, W, 3) RGB bytes."""
    crop = resample(photo, invert(onto), size, size) / 255
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)


def opacity(mask: Floats) -> Floats:
    """How much of each pixel of the crop goes into the photo. mask: (S, S) in [0, 1]. Returns (S, S) in [0, 1].

    0 at the outermost pixels, so that the crop leaves no edge, and 0 where the network changed nothing, so that the
    photo keeps its own sharpness there.
    """
    steps = np.arange(len(mask))
    inwards = np.minimum(steps, steps[::-1]) / (FEATHER * len(mask))
    border = np.clip(np.minimum(inwards[:, None], inwards[None, :]), 0, 1)
    return border * np.clip(mask / SOLID, 0, 1)


def paste_back(photo: Bytes, image: Floats, mask: Floats, onto: Floats) -> Bytes:
    """A copy of the photo, (H, W, 3), with the answer of the network in it. image: (3, S, S), mask: (1, S, S)."""
    size = image.shape[-1]
    layer = np.concatenate([np.clip(image, 0, 1), opacity(mask[0])[None]]).transpose(1, 2, 0)
    back = invert(onto)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) @ back[:, :2].T + back[:, 2]
    limits = photo.shape[1], photo.shape[0]
    left, top = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, limits))
    right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(0)), 0, limits))
    moved = np.column_stack([onto[:, :2], onto[:, 2] + onto[:, :2] @ (left, top)])
    patch = resample(layer, moved, right - left, bottom - top)
    colour, share = patch[..., :3] * 255, patch[..., 3:]
    out = photo.copy()
    region = out[top:bottom, left:right]
    region[...] = np.floor(region * (1 - share) + colour * share + 0.5)
    return out


class Product:
    """A folder that `idn export` wrote: networks, and the card that says how to feed them."""

    def __init__(self, folder: Path, precision: str = "fp32") -> None:
        """precision: of the files to use, as the card names it."""
        self.folder, self.precision = folder, precision
        if not (folder / "card.json").is_file():
            raise ValueError(f"{folder} holds no card.json: give the folder that `idn export` wrote")
        self.card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        self.takes_identity = any(entry["name"] == "identity" for entry in self.card["networks"]["swap"]["inputs"])
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}

    def file(self, name: str) -> str:
        """Path of a network's ONNX file in the folder."""
        for record in self.card["files"]:
            if (record["network"], record["format"], record["precision"]) == (name, "onnx", self.precision):
                return record["path"]
        raise ValueError(f"the card lists no {self.precision} ONNX file of {name}: export it, or change --precision")

    def run(self, name: str, inputs: dict[str, Floats]) -> dict[str, Floats]:
        """Outputs of a network by their names. Each network is loaded once."""
        if name not in self.sessions:
            path = str(self.folder / self.file(name))
            self.sessions[name] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session = self.sessions[name]
        return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs), strict=True))

    def identity(self, photo: Bytes, landmarks: Floats) -> NDArray[np.float32]:
        """The person of a photo as the numbers that the swapping network wants, (1, L)."""
        encoder = self.card["encoder"]
        if not encoder or not self.takes_identity:
            raise ValueError("this product holds one identity: it has no network that reads another from a photo")
        size = encoder["size"]
        crop = cut(photo, align(landmarks, np.array(encoder["template"]["points"]), size), size)
        return self.run("injection", self.run("encoder", {"crop": crop}))["identity"]

    def swap(self, photo: Bytes, landmarks: Floats, identity: Floats | None) -> Bytes:
        """The photo, (H, W, 3) RGB bytes, with another face. identity: as `identity` returns it, or None."""
        if self.takes_identity and identity is None:
            raise ValueError("this product serves any identity: read one with `swap.py identity` and give its file")
        if not self.takes_identity and identity is not None:
            raise ValueError("this product holds one identity and takes no other: leave --identity out")
        size = self.card["size"]
        onto = align(landmarks, np.array(self.card["template"]["points"]), size)
        inputs = {"target": cut(photo, onto, size)}
        if identity is not None:
            wanted = next(e["shape"] for e in self.card["networks"]["swap"]["inputs"] if e["name"] == "identity")
            if list(identity.shape) != wanted:
                raise ValueError(
                    f"the identity has shape {identity.shape}, not {tuple(wanted)}: read it with this product"
                )
            inputs["identity"] = identity.astype(np.float32)
        outputs = self.run("swap", inputs)
        return paste_back(photo, outputs["image"][0], outputs["mask"][0], onto)


def read_identity(path: Path) -> Floats:
    """What `swap.py identity` wrote."""
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is no identity: make one with `swap.py identity`") from error


def read_photo(path: Path) -> Bytes:
    """An image file as (H, W, 3) RGB bytes, turned upright."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_landmarks(text: str) -> Floats:
    """Ten numbers separated by commas, or a JSON file of five [x, y], as (5, 2)."""
    points = json.loads(Path(text).read_text(encoding="utf-8")) if text.endswith(".json") else text.split(",")
    try:
        landmarks = np.array(points, np.float64).reshape(5, 2)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--landmarks {text} are not five points: give x1,y1,...,x5,y5 or [[x, y], ...]") from error
    if not np.isfinite(landmarks).all():
        raise ValueError(f"--landmarks {text} are not all numbers: give x1,y1,...,x5,y5")
    return landmarks


def find_landmarks(photo: Bytes, model: Path, longest: int = 640) -> Floats:
    """Landmarks of the largest face, (5, 2), by YuNet on a copy whose longer side has at most `longest` pixels."""
    try:
        import cv2
    except ImportError as error:
        raise ValueError("--yunet needs OpenCV: `pip install opencv-python-headless`") from error
    height, width = photo.shape[:2]
    scale = min(1, longest / max(height, width))
    small = round(width * scale), round(height * scale)
    shrunk = np.asarray(Image.fromarray(photo).resize(small, Image.Resampling.BOX))
    _, faces = cv2.FaceDetectorYN.create(str(model), "", small).detect(np.ascontiguousarray(shrunk[..., ::-1]))
    if faces is None:
        raise ValueError("no face was found: give --landmarks")
    largest = max(faces, key=lambda face: face[2] * face[3])
    return largest[4:14].reshape(5, 2).astype(np.float64) * (width / small[0], height / small[1])


def write_synthetic(picture: Bytes, path: Path) -> None:
    """Write a PNG, JPEG or WebP that says that it shows a synthetic face, in its metadata and by an invisible mark."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"{path} must end with .png, .jpg or .webp, which keep the note that the picture is synthetic")
    if path.suffix.lower() != ".png":
        Image.fromarray(mark(picture)).save(path, quality=95, xmp=XMP.encode())
        return
    info = PngImagePlugin.PngInfo()
    for key, value in NOTES.items():
        info.add_text(key, value)
    info.add_itxt("XML:com.adobe.xmp", XMP)
    Image.fromarray(mark(picture)).save(path, pnginfo=info)


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Swap a face with an exported network.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    swap = verbs.add_parser("swap", help="put the identity into a photo")
    identity = verbs.add_parser("identity", help="read a person from a photo, once, for a product that takes any")
    for verb, out in ((swap, "PNG, JPEG or WebP to write"), (identity, "NPY to write")):
        verb.add_argument("photo", type=Path)
        verb.add_argument("out", type=Path, help=out)
        verb.add_argument("--product", type=Path, required=True, help="folder with card.json and the .onnx files")
        verb.add_argument("--precision", default="fp32", help="of the files to use: fp32, fp16, int8")
        where = verb.add_mutually_exclusive_group(required=True)
        where.add_argument("--landmarks", help="x1,y1,...,x5,y5 in pixels, or a .json file of five [x, y]")
        where.add_argument("--yunet", type=Path, metavar="MODEL", help="find them with OpenCV and this YuNet file")
    swap.add_argument("--identity", type=Path, help="NPY that `swap.py identity` wrote")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Run one command."""
    options = parse(words)
    try:
        product, photo = Product(options.product, options.precision), read_photo(options.photo)
        landmarks = read_landmarks(options.landmarks) if options.landmarks else find_landmarks(photo, options.yunet)
        if options.verb == "identity":
            np.save(options.out, product.identity(photo, landmarks))
        else:
            identity = read_identity(options.identity) if options.identity else None
            write_synthetic(product.swap(photo, landmarks, identity), options.out)
    except (OSError, ValueError) as error:
        sys.exit(f"swap.py: {error}")


if __name__ == "__main__":
    main()
