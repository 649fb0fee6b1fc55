"""`python -m deploy.local.dev_tls`: a private certificate authority and a certificate, for https clients.

Made once in `$DATA_DIR/tls` and kept; prints what the server and the clients must be told. The certificate is good
for this machine and for fal's host names, so that it also serves clients whose host names are redirected to us.
The authority's key is thrown away after it has signed: nobody can make another certificate that its owner trusts.
"""

import datetime as dt
import ipaddress
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.settings import LocalSettings, read
from shared.errors import WrongSetting

NAMES = ("localhost", "fal.run", "queue.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "fal.media", "*.fal.media")
ADDRESSES = ("127.0.0.1", "::1")
DAYS = 365


@dataclass(frozen=True)
class Paths:
    authority: Path
    certificate: Path
    key: Path


def main() -> int:
    try:
        settings = read(os.environ)
    except WrongSetting as error:
        print(error.message, file=sys.stderr)
        return 2
    folder = settings.data_dir / "tls"
    paths = Paths(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    if not is_good(paths):
        make(paths)
    print(advice(paths, settings))
    return 0


def is_good(paths: Paths, now: dt.datetime | None = None) -> bool:
    """Whether all three files are there and the certificate has a week to live."""
    if not all(path.is_file() for path in (paths.authority, paths.certificate, paths.key)):
        return False
    certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    now = now or dt.datetime.now(dt.UTC)
    return certificate.not_valid_after_utc > now + dt.timedelta(days=7)


def make(paths: Paths) -> None:
    """Writes the three files, the key readable by its owner only."""
    paths.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kolors-queue, this machine's own authority")])
    authority = (
        _builder(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    paths.key.unlink(missing_ok=True)
    paths.key.touch(mode=0o600)
    paths.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    paths.certificate.write_bytes(certificate.public_bytes(pem))
    paths.authority.write_bytes(authority.public_bytes(pem))


def advice(paths: Paths, settings: LocalSettings) -> str:
    """What to type next, to be pasted as it is."""
    place = f"localhost:{settings.port}"
    return f"""\
The authority and the certificate are in {paths.key.parent}.

Start the system with them:
  make serve TLS_CERT_FILE={paths.certificate} TLS_KEY_FILE={paths.key}

A Python program that uses fal_client reaches it, unchanged, with these variables:
  export SSL_CERT_FILE={paths.authority}
  export FAL_RUN_HOST={place}/run FAL_QUEUE_RUN_HOST={place}
  export FAL_KEY=any-name:any-secret

node takes NODE_EXTRA_CA_CERTS={paths.authority}, curl takes --cacert {paths.authority}."""


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names() -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(name) for name in NAMES),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES),
    ]


if __name__ == "__main__":
    sys.exit(main())
