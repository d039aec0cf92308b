"""Write the book's first picture: `python -m dinov2_edu.plots.diagrams [book/_static/images/hero.svg]`."""

import sys
from pathlib import Path

from dinov2_edu.plots.diagrams import hero

path = Path(sys.argv[1] if len(sys.argv) > 1 else "book/_static/images/hero.svg")
path.parent.mkdir(parents=True, exist_ok=True)
hero().save(path)
print(f"wrote {path}")
