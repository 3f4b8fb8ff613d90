"""What is installed is what is in the folders, and it needs no more than it says."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("flows", "profiles", "tasks", "warehouse")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Imports every module of nightboard where the libraries of the harness and demo extras cannot be had.
IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "lm_eval", "accelerate", "gguf", "tokenizers"}:
            raise ModuleNotFoundError(f"{name} is refused", name=name)

sys.meta_path.insert(0, Refuse())
rooms = [importlib.import_module(f"nightboard.{room}") for room in ("flows", "profiles", "tasks", "warehouse")]
names = [m.name for room in rooms for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps([room.__file__ for room in rooms] + names))
"""


def list_tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def find_packages() -> set[str]:
    return {
        ".".join(("nightboard", *path.parent.relative_to(ROOT).parts))
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }


def import_everything(folder: Path, *, path: Path | None = None) -> list[str]:
    """Files of the rooms, then names of all modules, as a fresh interpreter in `folder` finds them."""
    code = f"import sys; sys.path.insert(0, {str(path)!r})\n{IMPORT_EVERYTHING}" if path else IMPORT_EVERYTHING
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from a copy of the sources, was installed without its dependencies."""
    work = tmp_path_factory.mktemp("wheel")
    sources = work / "sources"
    names = [*ROOMS, "pyproject.toml", "README.md", "LICENSE"]
    sources.mkdir()
    subprocess.run(["cp", "-R", *(name for name in names if (ROOT / name).exists()), sources], cwd=ROOT, check=True)
    # The environment's own setuptools builds it; none is downloaded.
    run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", work, sources)
    run_pip("install", "--no-deps", "--target", work / "installed", *work.glob("*.whl"))
    return work / "installed"


def run_pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_list_of_pyproject_is_what_lies_on_the_disk() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert set(setuptools["packages"]) == find_packages()
    assert setuptools["package-dir"] == {f"nightboard.{room}": room for room in ROOMS}


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_the_wheel_holds_every_yaml_and_sql_file_and_the_type_markers(installed: Path) -> None:
    wanted = {
        path.relative_to(ROOT)
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".yaml", ".sql", ".py"} or path.name == "py.typed"
    }
    missing = {str(path) for path in wanted if not (installed / "nightboard" / path).is_file()}
    assert missing == set()
    assert {path.suffix for path in wanted} == {".py", ".sql", ".typed", ".yaml"}


def test_the_wheel_holds_what_pages_are_made_of(installed: Path) -> None:
    for folder in ("assets", "templates"):
        names = {path.name for path in (ROOT / "tasks/page" / folder).iterdir()}
        assert {path.name for path in (installed / "nightboard/tasks/page" / folder).iterdir()} == names


def test_the_wheel_imports_from_another_directory_without_the_harness(installed: Path, tmp_path: Path) -> None:
    found = import_everything(tmp_path, path=installed)
    assert [Path(name).parent.parent for name in found[:4]] == [installed / "nightboard"] * 4
    assert "nightboard.tasks.store.files" in found


def test_every_module_imports_where_only_the_base_dependencies_are_installed(tmp_path: Path) -> None:
    names = import_everything(tmp_path)
    assert len(names) > len(ROOMS) * 2


def test_every_library_that_is_imported_is_declared() -> None:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    declared = read_names([*project["dependencies"], *extras["harness"], *extras["demo"], *extras["plot"]])
    providers = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)} imports {module}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for module in find_imports(path) - sys.stdlib_module_names - {"nightboard"}
        if declared.isdisjoint(map(normalize, providers.get(module, [])))
    }
    assert undeclared == set()


def find_imports(path: Path) -> set[str]:
    """Top-level names of what a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in names}


def read_names(requirements: list[str]) -> set[str]:
    return {normalize(re.split(r"[\[<>=! ]", each)[0]) for each in requirements} - {"nightboard"}


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_once_and_without_a_local_version() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []
    pinned = [normalize(line.split("==")[0]) for line in lines]
    assert len(pinned) == len(set(pinned))
    project = PYPROJECT["project"]
    named = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    wanted = read_names(named)
    assert wanted - set(pinned) == set()


def test_no_tracked_file_names_a_path_or_a_registry_of_one_machine() -> None:
    # Written in pieces, so that this file does not find itself.
    folders = "|".join(
        ("home/" + r"\w", "root" + "/", "work" + "/", "opt" + "/py", "opt" + "/wheels", "Users" + r"/\w")
    )
    pattern = re.compile(rf"(?<![\w.$}}>/~-])/({folders})|--(extra-)?index" + r"-url[= ]|file:/" + r"//\w")
    found = []
    for name in list_tracked_files():
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    assert found == []
