"""Which files an agent's call may touch: some read roots, one write root, and nothing that a link leads to.

A path is never handed on by its name. It is opened from its root one folder after the other, links refused at each
step by the kernel (`O_NOFOLLOW`), and what was opened is copied, or hard-linked where it is large, into a folder of the
write root. There its contents are checked, and there a job reads them: a link that is put in place between check and
use is never met.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from weft.errors import AccessError
from weft.mcp import contents

STATE = ".weft"
"""The folder of the write root that holds jobs, inputs, stored configurations and the log of calls."""

_COPIED = 64 << 20
"""Files of up to so many bytes are copied; larger ones are hard-linked where the file system lets them."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a named pipe must not block

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Sandbox:
    """Where calls may read and write.

    Attributes:
        workspace: The folder that relative paths start from; a read root.
        write_root: The folder that holds runs and, under `.weft`, the server's own files.
        read_roots: Further folders that may be read.
        allow_code: Whether an experiment may name functions of the user's own.
        allow_network: Whether an experiment may load data from OpenML.
    """

    workspace: Path
    write_root: Path
    read_roots: tuple[Path, ...] = ()
    allow_code: bool = False
    allow_network: bool = False

    @classmethod
    def of(
        cls,
        workspace: Path,
        write_root: Path | None = None,
        read_roots: tuple[Path, ...] = (),
        *,
        allow_code: bool = False,
        allow_network: bool = False,
    ) -> Sandbox:
        """Resolve the roots once, and make the write root.

        Raises:
            AccessError: a root is no folder.
        """
        for root in (workspace, *read_roots):
            if not root.is_dir():
                raise AccessError(f"{root} is no folder; a workspace and every read root must exist")
        place = (write_root or workspace / "runs").resolve()
        (place / STATE).mkdir(parents=True, exist_ok=True)
        os.chmod(place / STATE, 0o700)
        roots = tuple(dict.fromkeys(root.resolve() for root in read_roots))
        return cls(workspace.resolve(), place, roots, allow_code, allow_network)

    @property
    def state(self) -> Path:
        """The server's own folder."""
        return self.write_root / STATE

    def open(self, text: str) -> tuple[int, str]:
        """Open a file that a caller names, for reading; return its descriptor and its name in messages.

        Raises:
            AccessError: it lies outside the read roots, behind a link, or is no ordinary file.
        """
        root, parts = self._locate(text)
        shown = "/".join(parts)
        descriptor = os.open(root, _FOLDER)
        try:
            for place, part in enumerate(parts, 1):
                flags = _FILE if place == len(parts) else _FOLDER
                found = os.open(part, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = found
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise AccessError(f"{shown} is no ordinary file; name a file")
        except OSError as error:
            os.close(descriptor)
            raise AccessError(f"cannot open {shown}: {_why(error)}") from error
        except AccessError:
            os.close(descriptor)
            raise
        return descriptor, shown

    def read_text(self, text: str, limit: int = 1 << 18) -> str:
        """Return the text of a file that a caller names.

        Raises:
            AccessError: it may not be read, is no UTF-8 text, or is longer than `limit` bytes.
        """
        descriptor, shown = self.open(text)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise AccessError(f"{shown} is longer than {limit} bytes; a text of that length is no experiment")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AccessError(f"{shown} is no UTF-8 text") from error

    def stage(self, text: str, suffixes: tuple[str, ...]) -> Path:
        """Return a checked file of the write root that holds what a caller names.

        Args:
            text: The path as the caller wrote it.
            suffixes: What it may end in.

        Raises:
            AccessError: it may not be read, ends otherwise, or holds what could run code or leads to other files.
        """
        if os.path.splitext(text)[1].lower() not in suffixes:
            raise AccessError(f"'{_short(text)}' does not end in {', '.join(suffixes)}; nothing else is read here")
        descriptor, shown = self.open(text)
        try:
            found = os.fstat(descriptor)
            key = f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
            place = self.state / "inputs" / hashlib.sha256(key.encode()).hexdigest()[:16]
            target = place / shown.rpartition("/")[2]
            if not target.exists():
                place.mkdir(parents=True, exist_ok=True)
                _copy(descriptor, target)
        finally:
            os.close(descriptor)
        contents.check(target, shown)
        return target

    def run(self, name: str) -> Path:
        """Return the folder of the run of this name, which need not exist.

        Raises:
            AccessError: it is no name, or a link lies there or in it.
        """
        if not NAME.fullmatch(name):
            raise AccessError(f"'{_short(name)}' is no name of a run; it is letters, digits, '.', '_' and '-', no path")
        path = self.write_root / name
        _no_links(path)
        return path

    def runs(self) -> list[str]:
        """Return the names of the runs in the write root, the newest first."""
        found = [path for path in self.write_root.iterdir() if NAME.fullmatch(path.name) and not path.is_symlink()]
        found = [path for path in found if (path / "config.resolved.yaml").is_file()]
        return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]

    def is_staged(self, path: Path) -> bool:
        """Return whether a path is one that `stage` gave."""
        return path.is_relative_to(self.state / "inputs") and ".." not in path.parts and path.is_file()

    def hide(self, text: str) -> str:
        """Return a text with paths below the roots made relative: answers hold no absolute ones."""
        for root in sorted({self.write_root, self.workspace, *self.read_roots}, key=lambda root: -len(str(root))):
            text = text.replace(f"{root}/", "").replace(str(root), root.name)
        return text

    def _locate(self, text: str) -> tuple[Path, tuple[str, ...]]:
        """Return the root that a path lies in, and the names that lead to it from there."""
        problem = _problem(text)
        if problem:
            raise AccessError(f"'{_short(text)}' {problem}")
        path, root = Path(text), self.workspace
        if path.is_absolute():
            roots = (self.workspace, *self.read_roots)
            root = next((root for root in roots if path.is_relative_to(root)), root)
            if not path.is_relative_to(root):
                raise AccessError(
                    f"'{_short(text)}' lies outside of what may be read: the workspace, and the folders that the "
                    "server was started with as --read"
                )
            path = path.relative_to(root)
        if not path.parts:
            raise AccessError(f"'{_short(text)}' is a folder; name a file")
        hidden = [part for part in path.parts if part.startswith(".")]
        if hidden:
            raise AccessError(f"'{_short(text)}' leads through '{hidden[0]}'; hidden files and folders are not read")
        return root, path.parts


def _problem(text: str) -> str | None:
    """Return what is wrong with a path before anything is looked up."""
    if not text or len(text) > 1024:
        return "is no path" if not text else "is too long for a path"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "holds a control character"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        return "is an address; only files are read, by their path"
    if text.startswith("~") or "$" in text:
        return "holds '~' or '$', which is not expanded here; write the path in full"
    if re.search(r"%[0-9A-Fa-f]{2}", text) or "\\" in text:
        return "is encoded; write the path in plain characters, with '/'"
    if ".." in text.split("/"):
        return "holds '..'; paths lead downwards only"
    return None


def _copy(descriptor: int, target: Path) -> None:
    """Put what is open under `target`, whole or not at all."""
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        if os.fstat(descriptor).st_size > _COPIED:
            try:
                # with a folder given, Python calls linkat, which follows the one link that is meant: to what is open
                os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor, follow_symlinks=True)
                return
            except OSError:  # another file system, or another owner: copied like a small one
                pass
        with os.fdopen(os.dup(descriptor), "rb") as source, temporary.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AccessError(
            f"cannot copy {target.name} into the write root: {error.strerror}; free space there"
        ) from error


def _no_links(path: Path) -> None:
    """Refuse a link at `path` or anywhere below it."""
    if path.is_symlink():
        raise AccessError(f"{path.name} is a link; runs lie in the write root themselves")
    for folder, folders, files in os.walk(path, followlinks=False):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(folder, name)):
                raise AccessError(f"{path.name} holds a link, {name}; a run with links is not read")


def _why(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "there is no such file in the workspace"
        case errno.ELOOP:
            return "it is a link, or lies behind one, and links are not followed"
        case errno.ENOTDIR:
            return "it lies behind a link or a file, where a folder should be"
        case _:
            return os.strerror(error.errno or 0).lower()


def _short(text: str) -> str:
    return text.encode("unicode_escape", "backslashreplace").decode()[:120]
