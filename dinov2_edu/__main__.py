"""`python -m dinov2_edu COMMAND ...`; without a command, the list of them."""

import sys

from dinov2_edu.experiments.commands import main

if __name__ == "__main__":
    sys.exit(main())
