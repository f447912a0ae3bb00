"""A signing certificate and who vouches for it, made for one test."""

import datetime
from pathlib import Path

import pytest


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate chain for signing content (C2PA's profile) and of its private key."""
    pytest.importorskip("cryptography", reason="C2PA manifests need the extra c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        parts = (NameOID.COUNTRY_NAME, "XX"), (NameOID.ORGANIZATION_NAME, "Nobody"), (NameOID.COMMON_NAME, common)
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    def usage(signs: bool) -> x509.KeyUsage:
        names = "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"
        others = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
        return x509.KeyUsage(digital_signature=True, key_cert_sign=signs, crl_sign=signs, **others)

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain, today = [], datetime.datetime.now(datetime.UTC)
    for subject, key, authority in (("Signer", leaf, False), ("Root", root, True)):
        builder = (
            x509.CertificateBuilder(name("Root"), name(subject), key.public_key(), x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=9))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(usage(authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )
        if not authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True
            )
        chain.append(builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "chain.pem").write_bytes(b"".join(chain))
    (folder / "key.pem").write_bytes(leaf.private_bytes(*kind))
    return folder / "chain.pem", folder / "key.pem"
