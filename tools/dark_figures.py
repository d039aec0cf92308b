"""Each figure of a page once more for the dark theme: the ink's lightness is turned over, pictures stay as they are.

A figure's file says where pictures lie in it (`dinov2_edu.plots.style.Figure.encoded`). Everywhere else lightness is
turned over at the same hue: the card becomes dark and the ink light, and a mid-tone, such as the colour of a role,
hardly changes. The style sheet shows one of both; the browser fetches no other, since both are lazy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from jaxtyping import Float, UInt8
from PIL import Image

from dinov2_edu.palette import CARD, DARK_CARD, DARK_INK, INK

TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: UInt8[np.ndarray, "*many 3"]) -> Float[np.ndarray, "*many 3"]:
    """Lightness (0 to 1) and two opponent colours, evenly spaced to the eye.

    Source: B. Ottosson, "A perceptual color space for image processing" (2020).
    """
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_LMS.T) @ TO_OKLAB.T


def from_oklab(lab: Float[np.ndarray, "*many 3"]) -> UInt8[np.ndarray, "*many 3"]:
    """The nearest bytes of RGB; what no screen shows is cut off."""
    linear = np.clip((lab @ np.linalg.inv(TO_OKLAB).T) ** 3 @ np.linalg.inv(TO_LMS).T, 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * share).astype(np.uint8)


def turned(rgb: UInt8[np.ndarray, "*many 3"]) -> UInt8[np.ndarray, "*many 3"]:
    """The same colours with their lightness turned over: `CARD` gets that of `DARK_CARD`, `INK` that of `DARK_INK`."""
    ends = np.array([list(bytes.fromhex(one[1:])) for one in (CARD, INK, DARK_CARD, DARK_INK)], np.uint8)
    card, ink, dark_card, dark_ink = oklab(ends)[:, 0]
    lab = oklab(rgb)
    lab[..., 0] = dark_card + (card - lab[..., 0]) * (dark_ink - dark_card) / (card - ink)
    return from_oklab(np.clip(lab, [0, -1, -1], 1))


def write_dark(light: Path, dark: Path) -> bool:
    """Write the dark twin of a figure's file, of its kind; False if the file does not say where its pictures lie."""
    with Image.open(light) as figure:
        said = figure.info.get("pictures", figure.info.get("comment"))
        if said is None:
            return False
        kind, pixels = figure.format, np.asarray(figure.convert("RGB"))
    ink = np.ones(pixels.shape[:2], bool)
    for left, top, right, bottom in json.loads(said):
        ink[top:bottom, left:right] = False
    pixels = pixels.copy()
    colours, which = np.unique(pixels[ink], axis=0, return_inverse=True)
    pixels[ink] = turned(colours)[which.reshape(-1)]
    shown = Image.fromarray(pixels)
    if kind == "JPEG":
        shown.save(dark, quality=86, optimize=True)
    else:
        shown.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            dark, optimize=True
        )
    return True


def add_dark_figures(app: Any, doctree: nodes.document) -> None:
    """Put the dark twin of each figure that a cell made behind it, with the same words."""
    for image in list(doctree.findall(nodes.image)):
        bundle = image.parent.parent
        if not isinstance(bundle, nodes.container) or bundle.get("nb_element") != "mime_bundle":
            continue
        light = Path(app.srcdir) / image["uri"]
        dark = light.with_name(f"{light.stem}-dark{light.suffix}")
        if not write_dark(light, dark):
            continue
        twin = image.deepcopy()
        twin["uri"] = str(Path(image["uri"]).with_name(dark.name))
        twin["candidates"] = {"*": twin["uri"]}
        app.env.images.add_file(app.env.docname, twin["uri"])
        for one, theme in ((image, "light"), (twin, "dark")):
            one["classes"] = [
                *one["classes"],
                f"figure-{theme}",
                "dark-light",
            ]  # the last: the theme keeps off
            one["loading"] = "lazy"
        image.parent.insert(image.parent.index(image) + 1, twin)
