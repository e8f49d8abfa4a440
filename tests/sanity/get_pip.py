"""Stands where ansible-test looks for a downloaded get-pip script: installs the pip it asks for by way of ensurepip.

So the tools of its tests come from the package index alone, like everything else here.
"""

from __future__ import annotations

import subprocess
import sys

# get-pip's own switches; what is left names the packages.
packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *packages])
