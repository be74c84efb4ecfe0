"""Folders of files that are kept for years: made whole or not at all, durable, hashed, and never through a link.

A folder is written under a hidden name, sealed (each file forced to the disk and hashed), and only then given its own
name. Whoever reads it opens each file without following links, and takes none whose bytes are not what was sealed.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar

import msgspec

from kflow.errors import ConfigError, DataError, InstanceLocked

MANIFEST: Final = "manifest.json"
PART: Final = ".part-"
_LOCK: Final = ".kflow.lock"
_BLOCK: Final = 2**20  # bytes that are read at once
_LEVEL: Final = 1  # of gzip: frames of JSON shrink tenfold at any level, and more of it costs time only
Progress = Callable[[int], None]
_M = TypeVar("_M", bound=msgspec.Struct)
_QUIET: Final[Progress] = lambda _: None  # noqa: E731 - a name for "nobody looks"


class File(msgspec.Struct, frozen=True):
    """A file as it was sealed. `name` is relative to its folder, with `/`."""

    name: str
    bytes: int
    sha256: str


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to write into; it takes that name when the block ends well, else it is removed.

    Raises ConfigError where something is there already, or cannot be written.
    """
    part = folder.parent / f"{PART}{folder.name}"
    try:
        private_folder(folder.parent)
        _remove(part)  # of a run that was killed
        part.mkdir(mode=0o700)
        try:
            yield part
            if os.path.lexists(folder):
                raise ConfigError(f"{folder} is there already", hint="remove it, or choose another --out")
            sync_folder(part)
            part.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            _remove(part)
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder.parent}: {error.strerror or error}", hint="free disk space, or choose another"
        ) from error


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Nobody else writes copies into `root` while the block runs; what killed runs left half made there is removed.

    Raises InstanceLocked, ConfigError.
    """
    try:
        private_folder(root)
        fd = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write to {root}: {error.strerror}", hint="choose another --out") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in root.glob(f"{PART}*"):
            _remove(stale)
        yield
    except BlockingIOError:
        raise InstanceLocked(f"another kflow writes into {root}", hint="wait until it has ended") from None
    finally:
        os.close(fd)


def private_folder(path: Path) -> None:
    """Made where missing, those above it too, for its owner alone."""
    for folder in [*reversed(path.parents), path]:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A private file that was not there before, its folder made where missing."""
    private_folder(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        yield file


@contextmanager
def new_gzip(path: Path) -> Iterator[IO[bytes]]:
    """The same, compressed; the same bytes make the same file."""
    with new_file(path) as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file:
        yield file  # type: ignore[misc]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file to read, its last part no link. Raises OSError where it is one."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        yield file


def seal(folder: Path, part: str = "") -> list[File]:
    """Force every file below `folder` (only those below its `part`) to the disk, and say what each is, by name."""
    found = []
    for where, folders, names in os.walk(folder / part):
        folders.sort()
        for name in names:
            path = Path(where) / name
            path.chmod(0o600)
            with opened(path) as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
                found.append(File(path.relative_to(folder).as_posix(), size, sha256_of(file)))
        sync_folder(Path(where))
    return sorted(found, key=lambda file: file.name)


def check(folder: Path, files: Iterable[File], progress: Progress = _QUIET) -> None:
    """Every file is what it was when it was sealed. Raises DataError, which names the first that is not."""
    for file in files:
        path = inside(folder, file.name)
        try:
            with opened(path) as data:
                same = os.fstat(data.fileno()).st_size == file.bytes and sha256_of(data, progress) == file.sha256
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}", hint="take another copy: this one is not whole"
            ) from None
        if not same:
            raise DataError(
                f"{path} is not what was written: its size or its SHA-256 differs",
                hint="take another copy: this one is damaged",
            )


def look(folder: Path, files: Iterable[File]) -> None:
    """Every file is there and as long as it was sealed; none is read. Raises DataError, which names one that is not."""
    for file in files:
        path = inside(folder, file.name)
        try:
            found = path.lstat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", hint="take another copy") from None
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.bytes:
            raise DataError(f"{path} is not what was written: its size differs", hint="take another copy")


def sha256_of(data: IO[bytes], progress: Progress = _QUIET) -> str:
    """Of what is left to read."""
    whole = hashlib.sha256()
    while block := data.read(_BLOCK):
        whole.update(block)
        progress(len(block))
    return whole.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """A file that a manifest names. Raises DataError where it lies elsewhere, or behind a link."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise DataError(f"the manifest in {folder} names {name!r}, which is not in it", hint="somebody changed it")
    path = folder
    for part in parts[:-1]:
        path /= part
        if path.is_symlink():
            raise DataError(f"{path} is a link, which no copy of kflow holds", hint="somebody changed it")
    return path / parts[-1]


def adopt(source: Path, target: Path) -> None:
    """The same file under another name too: the very same where the file system can, else a copy."""
    private_folder(target.parent)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        with opened(source) as old, new_file(target) as new:
            shutil.copyfileobj(old, new, _BLOCK)
            new.flush()
            os.fsync(new.fileno())


def compress(source: Path, target: Path, size: int) -> str:
    """A compressed copy of a file's first `size` bytes, and their SHA-256. Raises DataError where there are fewer."""
    whole, left = hashlib.sha256(), size
    with opened(source) as old, new_gzip(target) as new:
        while left and (block := old.read(min(_BLOCK, left))):
            whole.update(block)
            new.write(block)
            left -= len(block)
    if left:
        raise DataError(f"{source} became shorter while it was copied", hint="is something else writing there?")
    return whole.hexdigest()


def expand(source: Path, target: Path) -> None:
    """What `compress` was given. Raises DataError where that cannot be told."""
    with _expanded(source) as old, new_file(target) as new:
        shutil.copyfileobj(old, new, _BLOCK)
        new.flush()
        os.fsync(new.fileno())


def expanded(source: Path) -> tuple[int, str]:
    """How many bytes `expand` would write, and their SHA-256; it needs no room. Raises DataError."""
    with _expanded(source) as old:
        sha256 = sha256_of(old)
        return old.tell(), sha256


@contextmanager
def _expanded(source: Path) -> Iterator[IO[bytes]]:
    try:
        with opened(source) as raw, gzip.open(raw) as old:
            yield old  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{source} is damaged: {error}", hint="take another copy") from None


def write_manifest(folder: Path, manifest: msgspec.Struct) -> str:
    """Written last. Gives its SHA-256, by which a ledger knows it."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    with new_file(folder / MANIFEST) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(text).hexdigest()


def read_manifest(folder: Path, kind: type[_M]) -> tuple[_M, str]:
    """A folder's manifest, and its SHA-256. Raises DataError where there is none that can be read."""
    try:
        with opened(folder / MANIFEST) as file:
            text = file.read()
        return msgspec.json.decode(text, type=kind), hashlib.sha256(text).hexdigest()
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{folder} holds no manifest that can be read: {getattr(error, 'strerror', None) or error}",
            hint="name a folder that kflow db backup or kflow db archive made",
        ) from None


def sync_folder(path: Path) -> None:
    """New names in it survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
