"""C2PA manifests (content credentials) in pictures and videos, signed with a certificate; needs `c2pa-python`.

Nothing is fetched from the network, neither when signing (no time stamp) nor when reading.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import idn
from idn.errors import FileError, MissingExtra, MissingFile, UserError
from idn.files.atomic import atomic_write
from idn.provenance.metadata import SYNTHETIC, TOOL, Lineage

MODEL = "org.idn-distill.model"
"""Label of the assertion that names the network."""
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


class Credentials(NamedTuple):
    """What the manifest of a file says."""

    state: str
    """`Trusted`, `Valid` (whole, signed by somebody whom no list knows) or `Invalid` (changed since it was signed)."""
    signer: str
    tool: str
    synthetic: bool
    """Whether an action of the manifest names a digital source type that a trained algorithm made, in part or whole."""


class Signature:
    """Signs files with one certificate.

    certificate: PEM file: the signer's, followed by those of who vouches for it.
    key: PEM file of its private key, without a password.
    Raises MissingFile, and UserError for files that are no such thing; MissingExtra without `c2pa-python`.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._c2pa = _library("signing needs")
        chain, secret = (_text(path) for path in (certificate, key))
        algorithm = _algorithm(secret, key)
        try:
            info = self._c2pa.C2paSignerInfo(algorithm, chain.encode(), secret.encode(), None)
            self._signer = self._c2pa.Signer.from_info(info)
        except self._c2pa.C2paError as error:
            raise FileError(
                certificate, f"does not sign with {key} ({_line(error)}): give the two that match"
            ) from error

    def sign(self, path: Path, lineage: Lineage) -> None:
        """Put a signed manifest into a whole picture or video. The file changes at once, or not at all.

        Raises FileError if its format holds none, or the certificate is not one for signing content.
        """
        model = {} if lineage.model is None else {"sha256": lineage.model}
        manifest = {
            "claim_generator_info": [{"name": TOOL, "version": idn.__version__}],
            "title": path.name,
            "assertions": [
                {
                    "label": "c2pa.actions.v2",
                    "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC}]},
                },
                {"label": MODEL, "data": {**model, **lineage.notes}},
            ],
        }
        try:
            with atomic_write(path) as draft, self._c2pa.Builder(json.dumps(manifest), _context(self._c2pa)) as builder:
                builder.sign_file(path, draft, self._signer)
        except self._c2pa.C2paError as error:
            raise FileError(path, f"cannot be signed: {_line(error)}") from error


def read_credentials(path: Path) -> Credentials | None:
    """What the manifest in a file says, None where there is none. Raises MissingExtra without `c2pa-python`."""
    c2pa = _library("reading C2PA manifests needs")
    try:
        reader = c2pa.Reader.try_create(str(path), context=_context(c2pa))
    except c2pa.C2paError:  # a format that holds none, or a file that is damaged there
        return None
    if reader is None:
        return None
    with reader:
        manifest, state = reader.get_active_manifest() or {}, str(reader.get_validation_state())
    assertions = json.dumps(manifest.get("assertions", []))
    signature, tools = manifest.get("signature_info", {}), manifest.get("claim_generator_info") or [{}]
    return Credentials(
        state,
        signature.get("common_name") or signature.get("issuer") or "nobody that it names",
        " ".join(filter(None, (tools[0].get("name"), tools[0].get("version")))) or "an unnamed program",
        any(kind in assertions for kind in ("rainedAlgorithmicMedia", "compositeSynthetic")),
    )


def _library(start: str) -> Any:
    try:
        import c2pa
    except ImportError:
        raise MissingExtra(f"{start} c2pa-python:", "c2pa") from None
    return c2pa


def _context(c2pa: Any) -> Any:
    return c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise MissingFile(path, "is not there: give a PEM file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"cannot be read as a PEM file ({error})") from error


def _algorithm(secret: str, path: Path) -> str:
    """C2PA's name for what a private key signs with."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = serialization.load_pem_private_key(secret.encode(), None)
    except (TypeError, ValueError) as error:
        raise FileError(path, f"is no private key without a password ({_line(error)})") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in (256, 384, 521):
        return {256: "es256", 384: "es384", 521: "es512"}[key.curve.key_size]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise UserError(f"{path} is a {type(key).__name__}: C2PA signs with ECDSA, RSA or Ed25519 keys")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
