"""TLS: the fast receive path works over it, and a certificate that nobody vouches for is refused."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from kflow.kalshi.transport import FastConnection

FRAMES = [f"frame {number}: {'x' * (number % 700)}".encode() for number in range(2_000)]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "server.pem"
    file.write_bytes(private + made.public_bytes(pem))
    return file


async def send_all(connection: ServerConnection) -> None:
    """Wait until the client listens, then send everything."""
    await connection.recv()
    for frame in FRAMES:
        await connection.send(frame.decode())
    await connection.wait_closed()


async def test_frames_arrive_over_tls(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    arrived: list[bytes] = []
    complete = asyncio.Event()

    def take(frames: list[bytes], _wall_ns: int, _mono_ns: int) -> None:
        arrived.extend(frames)
        if len(arrived) >= len(FRAMES):
            complete.set()

    async with serve(send_all, "127.0.0.1", 0, ssl=server_side, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options = {"create_connection": FastConnection, "compression": None, "ping_interval": None, "proxy": None}
        async with websockets.connect(f"wss://127.0.0.1:{port}", ssl=trusting, **options) as connection:
            assert isinstance(connection, FastConnection)
            connection.deliver_to(take)
            await connection.send("go")
            async with asyncio.timeout(20):
                await complete.wait()
    assert arrived == FRAMES


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    async with serve(send_all, "127.0.0.1", 0, ssl=server_side) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await websockets.connect(f"wss://127.0.0.1:{port}", create_connection=FastConnection, proxy=None)
