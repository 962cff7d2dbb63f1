"""The peers' virtual environments, made from pinned requirements by the runner, or by running this module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = {".venvs/peers": "peers.txt", ".venvs/qpth": "qpth.txt", ".venvs/jax": "jax_peers.txt"}


def python_of(environment: str) -> Path:
    """The interpreter of an environment; this very one for the project's own."""
    return ROOT / environment / "bin" / "python" if environment in REQUIREMENTS else Path(sys.executable)


def ensure(environment: str) -> None:
    """Make the environment, or bring it up to its requirement file if that is newer. Raises CalledProcessError if pip fails."""
    if environment not in REQUIREMENTS:
        return
    requirements, folder = Path(__file__).with_name(REQUIREMENTS[environment]), ROOT / environment
    stamp = folder / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= requirements.stat().st_mtime:
        return
    print(f"installing {requirements.name} into {environment} …", flush=True)
    if not python_of(environment).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python_of(environment)), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
    stamp.touch()


if __name__ == "__main__":
    for name in REQUIREMENTS:
        ensure(name)
