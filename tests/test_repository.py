"""The repository keeps its promises: environments in step, cards with weights, nothing of a machine."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# PyPI name -> conda-forge name, where they differ
CONDA = {
    "torch": "pytorch",
    "openslide-bin": "openslide",
    "build": "python-build",
    "playwright": "playwright-python",
}


def _requirements() -> dict[str, str]:
    """All direct requirements: name to lower bound, extras and self-references resolved."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    out = {}
    for line in lines:
        found = re.fullmatch(r"([A-Za-z0-9-]+)(\[[^\]]*\])?(>=([0-9.]+))?", line.partition(";")[0])
        assert found, line
        name, bound = found[1].lower(), found[4]
        if name != "hrviz":
            assert out.get(name, bound) == bound, f"{name} has two bounds"
            out[name] = bound
    return out


def test_environment_is_in_step_with_pyproject():
    text = (ROOT / "environment.yml").read_text()
    conda = dict(re.findall(r"^  - ([a-z0-9-]+)>=([0-9.]+)$", text, re.M))
    assert conda.pop("python") == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert conda.pop("pyqt") == "6"  # napari[pyqt6]
    assert conda == {CONDA.get(name, name): bound for name, bound in _requirements().items()}


def test_lock_pins_every_requirement():
    lock = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.M)
    )
    pinned = {
        name.lower().replace("_", "-").replace(".", "-"): version for name, version in lock.items()
    }
    assert pinned["torch"] == "2.13.0"
    for name in _requirements():
        assert name in pinned, f"{name} is not in requirements.lock"


def test_version_is_in_changelog():
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "hrviz/__init__.py").read_text())[1]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_weights_have_cards():
    weights = list((ROOT / "hrviz/nets/weights").glob("*.safetensors"))
    assert weights
    for file in weights:
        card = json.loads(file.with_suffix(".json").read_text())
        assert {
            "name",
            "config",
            "data",
            "seed",
            "steps",
            "held_out",
            "command",
            "licence",
        } <= card.keys()
        assert file.stat().st_size < 4 * 2**20


def test_readme_lists_every_method():
    from hrviz.method import METHODS

    readme = (ROOT / "README.md").read_text()
    for method in METHODS.values():
        assert f"`{method.name}`" in readme and method.title in readme


def test_nothing_of_a_machine_is_committed():
    try:
        files = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    hosts = re.compile(r"/(work|root|farm)/|pypi\.org|registry\.npmjs|deb\.debian")
    for name in files:
        path = ROOT / name
        if path.suffix in {
            ".py",
            ".md",
            ".toml",
            ".yml",
            ".yaml",
            ".lock",
            ".json",
            ".js",
            ".ipynb",
            ".sh",
        }:
            if path.name == "test_repository.py" or not path.is_file():
                continue
            assert not hosts.search(path.read_text(errors="replace")), name
