"""Lays out the image's root: a Python, this virtual environment, what both load, and nothing else.

    /opt/interlock/bin/python assemble.py FOLDER

Run by the virtual environment's own Python while the image is built. There is no shell in what
comes out, no package manager, and no file that nothing reads. It tells scanners what is in it:
`/usr/share/sbom/interlock.cdx.json` (CycloneDX, from what is installed) and Debian's own records of
the packages that files came from, in `/var/lib/dpkg/status.d`.

INVARIANT: every file keeps the path that it had, so that nothing has to be told where it is now.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

USER = 10001
"""Whom it runs as; `USER` in the Dockerfile and the chart's `sidecar.uid` say the same."""

# What no sidecar imports: tests, windows, installers, and sources for building.
_UNUSED_ANYWHERE = ("__pycache__", "tests", "*.pyx", "*.pxd", "*.pyi", "*.c", "*.h", "pip", "pip-*")
_UNUSED_OF_PYTHON = (
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "distutils"),
    *("pydoc_data", "site-packages", "dist-packages", "sitecustomize.py", "EXTERNALLY-MANAGED"),
    *("config-*", "_test*.so", "_ctypes_test*.so", "xxlimited*.so"),
)
_UNUSED_OF_ENVIRONMENT = ("setuptools", "setuptools-*", "activate*", "Activate.ps1", "pip3*")
# Loaded by the C library when a thread ends, and named by no file.
_HIDDEN = ("libgcc_s.so.1",)
_DATA = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/openssl.cnf", "/etc/nsswitch.conf")

Component = dict[str, Any]


class Root:
    """The folder that becomes the image's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[Path] = set()
        for link in ("lib", "lib64", "lib32", "bin", "sbin"):
            if (target := Path("/", link)).is_symlink():
                (folder / link).symlink_to(os.readlink(target))

    def place(self, path: Path) -> Path:
        """Where a path of this machine goes, with its folder there."""
        place = self.folder / path.parent.resolve().relative_to("/") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def add(self, path: Path) -> None:
        """A file; of a link, all that it leads to."""
        place = self.place(path)
        if place.exists() or place.is_symlink():
            return
        shutil.copy2(path, place, follow_symlinks=False)
        if path.is_symlink():
            if not path.is_dir():
                self.add(path.parent / os.readlink(path))
        else:
            self.files.add(path.resolve())

    def tree(self, folder: Path, unused: Iterable[str]) -> None:
        """A folder without what is not used, by the patterns of its names."""
        ignored = shutil.ignore_patterns(*_UNUSED_ANYWHERE, *unused)
        for where, folders, files in os.walk(folder):
            skip = ignored(where, [*folders, *files])
            folders[:] = [name for name in folders if name not in skip]
            for name in (name for name in [*folders, *files] if name not in skip):
                path = Path(where, name)
                if path.is_symlink() or path.is_file():
                    self.add(path)

    def write(self, path: str, text: str) -> None:
        """A file that no machine has."""
        place = self.folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries, the loader included, that programs and libraries of these load."""
    found = set()
    for file in files:
        with file.open("rb") as start:
            if start.read(4) != b"\x7fELF":
                continue
        told = subprocess.run(["ldd", file], capture_output=True, text=True, check=False)
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", told.stdout)}
    return found


def debian(files: Iterable[Path]) -> dict[str, str]:
    """Of each Debian package that files came from, its record."""
    if shutil.which("dpkg-query") is None:
        return {}
    # Before /usr was merged packages knew files by the shorter path, and many still do.
    names = [name for path in files for name in (str(path), str(path).removeprefix("/usr"))]
    told = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True, check=False)
    packages = {line.rpartition(": ")[0].split(",")[0] for line in told.stdout.splitlines()}
    return {
        package.partition(":")[0]: subprocess.run(
            ["dpkg-query", "-s", package], capture_output=True, text=True, check=True
        ).stdout
        for package in sorted(packages)
    }


def field(record: str, name: str) -> str:
    """A field of a Debian package's record."""
    found = re.search(rf"^{name}: (.*)$", record, re.MULTILINE)
    return found[1] if found else ""


def components(packages: dict[str, str]) -> Iterator[Component]:
    """What is in the image: Python, its packages, the crates of ours, Debian's packages."""
    version = platform.python_version()
    yield _component("python", version, f"pkg:generic/python@{version}")
    for installed in sorted(distributions(), key=lambda found: found.name.lower()):
        name = re.sub(r"[-_.]+", "-", installed.name).lower()
        if name in ("pip", "setuptools", "interlock"):
            continue
        yield _component(name, installed.version, f"pkg:pypi/{name}@{installed.version}")
    for crate in _bom(_ours()).get("components", []):
        yield {key: crate[key] for key in crate if key in ("type", "name", "version", "purl")}
    for name, record in packages.items():
        version, kind = field(record, "Version"), field(record, "Architecture")
        yield _component(name, version, f"pkg:deb/debian/{name}@{version}?arch={kind}")


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "name": name, "version": version, "purl": purl}


def _ours() -> Distribution:
    return next(found for found in distributions() if found.name == "interlock")


def _bom(distribution: Distribution) -> dict[str, Any]:
    """The bill of materials that the wheel brings along for its crates."""
    for file in distribution.files or ():
        if file.match("*.dist-info/sboms/*.cyclonedx.json"):
            found: dict[str, Any] = json.loads(file.read_text())
            return found
    sys.exit("error: the wheel has no bill of materials: build it with maturin 1.10 or newer")


def main(folder: Path) -> None:
    """Lays out everything below the folder."""
    folder.mkdir()
    root = Root(folder)
    root.add(Path(sys.executable))
    stdlib = sysconfig.get_path("stdlib", vars={"base": sys.base_prefix})
    root.tree(Path(stdlib).resolve(), _UNUSED_OF_PYTHON)
    root.tree(Path(sys.prefix), _UNUSED_OF_ENVIRONMENT)
    loaded = libraries(root.files)
    for library in loaded | {path.parent / name for path in loaded for name in _HIDDEN}:
        if library.exists():
            root.add(library)
    for name in _DATA:
        if Path(name).exists():
            root.add(Path(name))
    packages = debian(root.files)
    for name, record in packages.items():
        root.write(f"/var/lib/dpkg/status.d/{name}", record)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "name": "interlock", "version": _ours().version}
        },
        "components": list(components(packages)),
    }
    root.write("/usr/share/sbom/interlock.cdx.json", json.dumps(bom, indent=1) + "\n")
    root.write("/etc/passwd", f"interlock:x:{USER}:{USER}::/nonexistent:/nonexistent\n")
    root.write("/etc/group", f"interlock:x:{USER}:\n")
    (folder / "tmp").mkdir(mode=0o1777)
    (folder / "tmp").chmod(0o1777)
    state = folder / "var/lib/interlock"
    state.mkdir(parents=True)
    os.chown(state, USER, USER)
    # The root is read only: what is not compiled now is compiled at every start.
    compiled = compileall.compile_dir(
        folder,
        maxlevels=30,
        stripdir=str(folder),
        prependdir="/",
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        sys.exit("error: not everything could be compiled")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
