"""DINOv2, taken apart and put together again: the package behind the book *Inside DINOv2*.

Import from the modules: `from dinov2_edu.losses import koleo_loss`. Each file holds one idea; the
book's chapter of the same name explains it.
"""

__version__ = "0.1.0"
