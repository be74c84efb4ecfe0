"""Signing requests with an API key, and checking such signatures (kalshi-protocol section 2).

A signature covers timestamp, method and path; neither the host nor the query nor the body.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from kflow.errors import CredentialError
from kflow.kalshi.environments import Environment
from kflow.private import closed, ours

PrivateKey = Ed25519PrivateKey | RSAPrivateKey
PublicKey = Ed25519PublicKey | RSAPublicKey

KEY_HEADER: Final = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER: Final = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER: Final = "KALSHI-ACCESS-SIGNATURE"

# A 4096-bit RSA key in PEM has 3.3 kB.
_FILE_BYTES: Final = 64 * 1024
_KEY_ID: Final = re.compile(r"[!-~]{1,200}", re.ASCII)  # printable, no space: it becomes a header
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")

# We sign with the salt the venue documents, and verify with any, as the venue does.
_PSS_SIGN: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
_PSS_VERIFY: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)


@dataclass(frozen=True, slots=True, eq=False)
class ApiKey:
    """A key id and its private key. The private key appears in no repr, message or log."""

    key_id: str
    private_key: PrivateKey = field(repr=False)
    # The environment the key was made in; None where nobody said.
    environment: Environment | None = None

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise CredentialError(
                "the key id is empty or holds characters that no key id has",
                hint="copy the id that Kalshi shows beside the key, a UUID",
            )

    @classmethod
    def load(cls, key_id: str, path: Path, *, environment: Environment | None = None) -> ApiKey:
        """Read a PEM file that only we can read.

        Raises CredentialError if it is missing, is no regular file, belongs to another user, can be read by others, or
        holds no unencrypted RSA or Ed25519 private key.
        """
        return cls(key_id, _private_key(_read_private(path), path), environment)

    @property
    def algorithm(self) -> str:
        return "RSA" if isinstance(self.private_key, RSAPrivateKey) else "Ed25519"

    def check_environment(self, environment: Environment) -> None:
        """Raise CredentialError where the key is known to be of another environment."""
        if self.environment is not None and self.environment is not environment:
            raise CredentialError(
                f"this key was made in environment {self.environment.value}, and {environment.value} is asked for",
                hint=f"make a key in environment {environment.value}; keys work nowhere else",
            )

    def sign(self, timestamp_ms: int, method: str, path: str) -> str:
        """Base64 of the signature. `path` starts at the root and has no query. RSA takes about 1 ms: use a thread."""
        message = _message(timestamp_ms, method, path)
        if isinstance(self.private_key, RSAPrivateKey):
            raw = self.private_key.sign(message, _PSS_SIGN, hashes.SHA256())
        else:
            raw = self.private_key.sign(message)
        return base64.b64encode(raw).decode("ascii")

    def headers(self, method: str, url: str, wall_ns: int) -> dict[str, str]:
        """The three headers of a request to `url`, http or ws, sent at `wall_ns`."""
        timestamp_ms = wall_ns // 1_000_000
        return {
            KEY_HEADER: self.key_id,
            TIMESTAMP_HEADER: str(timestamp_ms),
            # Of the URL as it is sent: a signed query is the commonest cause of a 401.
            SIGNATURE_HEADER: self.sign(timestamp_ms, method, urlsplit(url).path),
        }


def verify(public_key: PublicKey, signature_b64: str, timestamp_ms: int, method: str, path: str) -> bool:
    """Whether a signature is that of `public_key` over these parts; False for anything malformed."""
    message = _message(timestamp_ms, method, path)
    try:
        signature = base64.b64decode(signature_b64, validate=True)
        if isinstance(public_key, RSAPublicKey):
            public_key.verify(signature, message, _PSS_VERIFY, hashes.SHA256())
        else:
            public_key.verify(signature, message)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def write_new_key(path: Path, *, rsa: bool = False) -> PublicKey:
    """Make a key, Ed25519 unless RSA is asked for, and write it to a file that only we can read.

    Returns its public key. Raises CredentialError if the file exists or cannot be made: a key is never overwritten.
    """
    private_key: PrivateKey = generate_private_key(65537, 2048) if rsa else Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise CredentialError(
            f"cannot make the key file {path}: {error.strerror}", hint="choose a new file in a folder of yours"
        ) from error
    return private_key.public_key()


def _message(timestamp_ms: int, method: str, path: str) -> bytes:
    return f"{timestamp_ms}{method.upper()}{path}".encode()


def _read_private(path: Path) -> bytes:
    """The content of a file that nobody else can read, judged by the file that was opened, not by its name."""
    try:
        # NONBLOCK, since opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialError(
            f"cannot read the key file {path}: {error.strerror}",
            hint="point KALSHI_PRIVATE_KEY_PATH at the PEM file that Kalshi gave you",
        ) from error
    try:
        _check_private(os.fstat(descriptor), path)
        return os.read(descriptor, _FILE_BYTES)
    finally:
        os.close(descriptor)


def _check_private(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CredentialError(f"the key file {path} is not a regular file", hint="point it at a PEM file")
    if not ours(status):
        raise CredentialError(
            f"the key file {path} belongs to another user", hint=f"make it yours: chown $(id -un) {path}"
        )
    if not closed(status, path):
        raise CredentialError(
            f"the key file {path} can be used by others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"close it, then consider the key known to whoever could read it: chmod 600 {path}",
        )


def _private_key(pem: bytes, path: Path) -> PrivateKey:
    label = _PEM.search(pem)
    if label is None:
        raise CredentialError(
            f"the key file {path} is not PEM", hint="its first line must be a PEM header that says BEGIN PRIVATE KEY"
        )
    kind = label[1].decode("ascii")
    if kind not in ("PRIVATE KEY", "RSA PRIVATE KEY") or b"ENCRYPTED" in pem:
        _refuse_kind(kind, path)
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is not chained: parsers quote what they read.
        raise CredentialError(
            f"the key file {path} is damaged: it begins like a {kind} but is none",
            hint="copy the whole file again, with its BEGIN and END lines",
        ) from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise CredentialError(
            f"the key file {path} holds a key that is neither RSA nor Ed25519", hint="make a new API key at Kalshi"
        )
    return key


def _refuse_kind(kind: str, path: Path) -> NoReturn:
    """Say what the file is instead, and how to make it what it must be."""
    if kind == "OPENSSH PRIVATE KEY":
        what, hint = "an OpenSSH key", f"convert a copy of it, if it is RSA: ssh-keygen -p -m PEM -f {path}"
    elif "PUBLIC" in kind or "CERTIFICATE" in kind:
        what, hint = "the public half of a key", "the private half is the file Kalshi let you download once"
    elif "PRIVATE KEY" in kind and not kind.startswith(("EC ", "DSA ")):
        what, hint = "an encrypted key", f"decrypt it into a new file of mode 0600: openssl pkey -in {path} -out NEW"
    else:
        what, hint = f"something else ({kind})", "it must hold an RSA or Ed25519 private key in PEM"
    raise CredentialError(f"the key file {path} holds {what}", hint=hint)
