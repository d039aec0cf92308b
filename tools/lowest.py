"""Makes an environment of the lowest versions that pyproject.toml and requirements.txt allow, for `make lowest`.

python -m tools.lowest    make it anew in .cache/lowest, with the oldest Python
"""

import sys

from tools.colab import ROOT, environment_of
from tools.constraints import OLDEST_PYTHON


def main() -> int:
    """Run the command line; return the exit code."""
    wanted = ["--requirement", str(ROOT / "pyproject.toml"), "--extra", "book", "--extra", "test"]
    made = environment_of(ROOT / ".cache" / "lowest", OLDEST_PYTHON, "--resolution", "lowest-direct", *wanted)
    print(f"The lowest versions: {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
