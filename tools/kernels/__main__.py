"""Write the engine's kernels: `python -m tools.kernels`."""

import base64
from pathlib import Path

from tools.kernels import assemble, module_text

KERNELS = Path(__file__).parents[2] / "dinov2_edu" / "widgets" / "live" / "kernels.js"
HEADER = """\
// Written by `python -m tools.kernels` from the text in tools/kernels; not to be edited.
// Two WebAssembly modules that differ in one thing: the second multiplies and adds in one instruction.
"""


def script() -> str:
    """The content of kernels.js: both modules in base64."""
    modules = {"PLAIN_SIMD": assemble(module_text(False)), "RELAXED_SIMD": assemble(module_text(True))}
    lines = [
        f'export const {name} =\n  "{base64.b64encode(content).decode()}";\n'
        for name, content in modules.items()
    ]
    return HEADER + "".join(lines)


if __name__ == "__main__":
    KERNELS.write_text(script(), "utf-8")
    print(f"{KERNELS.name}: {KERNELS.stat().st_size} bytes")
