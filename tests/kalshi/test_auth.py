"""Signatures and key files, with keys made on the spot."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import CredentialError
from kflow.kalshi.auth import ApiKey, PrivateKey, verify, write_new_key
from kflow.kalshi.environments import Environment

STAMP = 1795361565004
PATH = "/trade-api/v2/portfolio/orders"
RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
PEM, NONE = serialization.Encoding.PEM, serialization.NoEncryption()
PKCS1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., Path]:
    def write(content: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize("private", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_a_signature_verifies_and_nothing_near_it_does(private: PrivateKey) -> None:
    signature = ApiKey("id", private).sign(STAMP, "get", PATH)
    public = private.public_key()
    assert verify(public, signature, STAMP, "GET", PATH)
    assert not verify(public, signature, STAMP + 1, "GET", PATH)
    assert not verify(public, signature, STAMP, "POST", PATH)
    assert not verify(public, signature, STAMP, "GET", PATH + "?status=resting")
    assert not verify(public, signature, STAMP, "GET", PATH.removeprefix("/trade-api/v2"))
    for other in (generate_private_key(65537, 2048), Ed25519PrivateKey.generate()):
        assert not verify(other.public_key(), signature, STAMP, "GET", PATH)


def test_the_message_is_stamp_method_path() -> None:
    signature = base64.b64decode(ApiKey("id", ED25519).sign(STAMP, "get", PATH))
    ED25519.public_key().verify(signature, b"1795361565004GET/trade-api/v2/portfolio/orders")


def test_rsa_is_signed_with_a_salt_of_the_digests_length() -> None:
    signature = base64.b64decode(ApiKey("id", RSA).sign(STAMP, "GET", PATH))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    RSA.public_key().verify(signature, f"{STAMP}GET{PATH}".encode(), pss, hashes.SHA256())


def test_any_salt_length_is_verified() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    raw = RSA.sign(f"{STAMP}GET{PATH}".encode(), pss, hashes.SHA256())
    assert verify(RSA.public_key(), base64.b64encode(raw).decode(), STAMP, "GET", PATH)


@given(st.text())
def test_a_malformed_signature_is_no_signature(text: str) -> None:
    assert not verify(ED25519.public_key(), text, STAMP, "GET", PATH)
    assert not verify(RSA.public_key(), text, STAMP, "GET", PATH)


@pytest.mark.parametrize("private", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://demo-api.kalshi.co/trade-api/v2/markets?tickers=A&limit=3#top", "/trade-api/v2/markets"),
        ("wss://demo-api.kalshi.co/trade-api/ws/v2", "/trade-api/ws/v2"),
        ("http://[::1]:8/trade-api/v2/markets/A%20B", "/trade-api/v2/markets/A%20B"),
    ],
)
def test_headers_sign_the_path_that_is_sent(private: PrivateKey, url: str, path: str) -> None:
    headers = ApiKey("a1b2-c3", private).headers("GET", url, STAMP * 1_000_000 + 999_999)
    assert headers["KALSHI-ACCESS-KEY"] == "a1b2-c3"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == str(STAMP)
    assert verify(private.public_key(), headers["KALSHI-ACCESS-SIGNATURE"], STAMP, "GET", path)
    assert len(headers) == 3


@pytest.mark.parametrize(
    ("private", "form", "algorithm"),
    [(RSA, PKCS1, "RSA"), (RSA, PKCS8, "RSA"), (ED25519, PKCS8, "Ed25519")],
)
def test_the_venues_key_files_load(
    key_file: Callable[..., Path], private: PrivateKey, form: serialization.PrivateFormat, algorithm: str
) -> None:
    key = ApiKey.load("id", key_file(private.private_bytes(PEM, form, NONE)))
    assert key.algorithm == algorithm
    assert verify(private.public_key(), key.sign(STAMP, "GET", PATH), STAMP, "GET", PATH)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o611, 0o601])
def test_a_key_that_others_can_use_is_refused(key_file: Callable[..., Path], mode: int) -> None:
    path = key_file(ED25519.private_bytes(PEM, PKCS8, NONE), mode)
    with pytest.raises(CredentialError, match=rf"can be used by others \(mode {mode:04o}\)") as refused:
        ApiKey.load("id", path)
    assert refused.value.hint.endswith(f"chmod 600 {path}")
    assert refused.value.exit_code == 3


def test_a_link_is_judged_by_what_it_points_to(key_file: Callable[..., Path], tmp_path: Path) -> None:
    target, link = key_file(ED25519.private_bytes(PEM, PKCS8, NONE), 0o644), tmp_path / "link.pem"
    link.symlink_to(target)
    with pytest.raises(CredentialError, match="can be used by others"):
        ApiKey.load("id", link)
    target.chmod(0o400)
    assert ApiKey.load("id", link).algorithm == "Ed25519"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CredentialError, match="is not a regular file"):
            ApiKey.load("id", path)
    with pytest.raises(CredentialError, match=r"cannot read the key file .*absent: No such file or directory"):
        ApiKey.load("id", tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(key_file: Callable[..., Path]) -> None:
    path = key_file(ED25519.private_bytes(PEM, PKCS8, NONE))
    os.chown(path, 65534, 65534)
    with pytest.raises(CredentialError, match="belongs to another user"):
        ApiKey.load("id", path)


PASSWORD = serialization.BestAvailableEncryption(b"open sesame")
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (b"", "is not PEM", "says BEGIN PRIVATE KEY"),
        (b"\x00\x01" * 999, "is not PEM", "says BEGIN PRIVATE KEY"),
        (ED25519.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, NONE), "holds an OpenSSH key", "ssh-keygen"),
        (RSA.private_bytes(PEM, PKCS8, PASSWORD), "holds an encrypted key", "openssl pkey"),
        (RSA.private_bytes(PEM, PKCS1, PASSWORD), "holds an encrypted key", "openssl pkey"),
        (RSA.public_key().public_bytes(PEM, PUBLIC), "holds the public half", "private half"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds the public half", "private half"),
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS1, NONE), "something else (EC PRIV", "RSA or"),
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, NONE), "neither RSA nor Ed25519", "new API"),
        (ED25519.private_bytes(PEM, PKCS8, NONE)[:60], "is damaged", "copy the whole file"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "is damaged", "copy the whole file"),
    ],
    ids=[
        "empty",
        "binary",
        "openssh",
        "encrypted-pkcs8",
        "encrypted-pkcs1",
        "public",
        "certificate",
        "ec",
        "ec-pkcs8",
        "cut",
        "no-key",
    ],
)
def test_a_file_that_is_no_key_says_what_it_is(
    key_file: Callable[..., Path], content: bytes, said: str, hint: str
) -> None:
    with pytest.raises(CredentialError) as refused:
        ApiKey.load("id", key_file(content))
    assert said in str(refused.value)
    assert hint in refused.value.hint
    assert "c2VjcmV0" not in f"{refused.value!r} {refused.value.__context__!r}"


@pytest.mark.parametrize("key_id", ["", "two words", "line\r\nX-Evil: 1", "schlüssel", "x" * 201])
def test_a_key_id_is_one_header_value(key_id: str) -> None:
    with pytest.raises(CredentialError, match="the key id is empty or holds characters") as refused:
        ApiKey(key_id, ED25519)
    assert not key_id or key_id not in str(refused.value)


def test_no_repr_shows_the_private_key() -> None:
    key = ApiKey("my-key-id", ED25519)
    assert repr(key) == "ApiKey(key_id='my-key-id', environment=None)"


def test_a_key_of_another_environment_is_refused() -> None:
    demo = ApiKey("id", ED25519, Environment.DEMO)
    demo.check_environment(Environment.DEMO)
    ApiKey("id", ED25519).check_environment(Environment.PRODUCTION)
    with pytest.raises(CredentialError, match="made in environment demo, and production is asked for"):
        demo.check_environment(Environment.PRODUCTION)


@pytest.mark.parametrize(("rsa", "kind"), [(False, Ed25519PublicKey), (True, RSAPublicKey)])
def test_a_new_key_is_private_and_loads(tmp_path: Path, rsa: bool, kind: type) -> None:
    path = tmp_path / "new.pem"
    before = os.umask(0)
    try:
        public = write_new_key(path, rsa=rsa)
    finally:
        os.umask(before)
    assert isinstance(public, kind)
    assert path.stat().st_mode & 0o777 == 0o600
    key = ApiKey.load("id", path)
    assert verify(public, key.sign(STAMP, "GET", PATH), STAMP, "GET", PATH)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    write_new_key(path)
    content = path.read_bytes()
    with pytest.raises(CredentialError, match="cannot make the key file"):
        write_new_key(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CredentialError, match="cannot make the key file"):
        write_new_key(tmp_path / "dangling")
    with pytest.raises(CredentialError, match="No such file or directory"):
        write_new_key(tmp_path / "no" / "folder")
    assert path.read_bytes() == content
    assert not (tmp_path / "elsewhere").exists()


def test_openssl_agrees(tmp_path: Path) -> None:
    """A second implementation verifies what we sign."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    key: RSAPrivateKey = RSA
    (tmp_path / "pub.pem").write_bytes(key.public_key().public_bytes(PEM, PUBLIC))
    (tmp_path / "sig").write_bytes(base64.b64decode(ApiKey("id", key).sign(STAMP, "GET", PATH)))
    (tmp_path / "msg").write_text(f"{STAMP}GET{PATH}")
    command = ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig"]
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "msg"]
    done = subprocess.run(command + options, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Verified OK"
