"""An environment for each library, so that what it needs reaches neither ours nor another's.

All of them see the packages of the environment that this runs in, behind their own: the libraries
are then compared on one and the same torch, and none is stored three times over. pip does not
touch what lies there; of whatever a library needs in another version it installs a copy.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
PACKAGES = {
    "pyro": "pyro-ppl==1.9.2",
    "storchastic": "storchastic==0.3.7",
    "pythae": "pythae==0.1.2",
}


def python_of(library: str, folder: Path) -> Path:
    """The interpreter of a library's environment below ``folder``, made if it is not there.

    Raises:
        subprocess.CalledProcessError: pip could not install it; what it said is on standard error.
    """
    home = folder / library
    python, ready = home / "bin" / "python", home / "ready"
    if not (ready.exists() and ready.read_text() == PACKAGES[library]):
        print(f"installing {PACKAGES[library]} into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        own = next(home.glob("lib/python*/site-packages"))
        (own / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*install, "-c", CONSTRAINTS, "torch", PACKAGES[library]], check=True, stdout=sys.stderr
        )
        ready.write_text(PACKAGES[library])
    return python.absolute()
