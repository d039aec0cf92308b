"""The command `python -m dinov2_edu features`: from a folder of pictures to one file of features."""

import argparse
import os

from dinov2_edu.data.own import NO_CLASS, look_over
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.inputs import (
    backbone_of,
    check_size,
    default_sizes,
    device_of,
    extraction_of,
)
from dinov2_edu.experiments.own import files_of
from dinov2_edu.features import Preprocessing, extract_features, save_table, table_path
from dinov2_edu.pictures import path_text


def run(options: argparse.Namespace) -> None:
    """Look the folder over, extract, write.

    Raises:
        ValueError: options or pictures that cannot be used.
    """
    out = table_path(options.out)
    folder = look_over(options.data)
    say(str(folder))
    backbone = backbone_of(options, device_of(options.device))
    size = options.size or default_sizes(backbone)[0]
    check_size(size, backbone, "--size")
    how = extraction_of(options)
    found = extract_features(backbone.model, files_of(folder), preprocessing=Preprocessing(size=size), **how)
    names = [folder.name_of(row) for row in range(len(folder))]
    classes = ["" if one == NO_CLASS else folder.class_names[one] for one in folder.labels]
    save_table(out, found, names, classes if folder.class_names else None)
    for name, reason in found.skipped:
        print(f"skipped {name.removeprefix(path_text(folder.root) + os.sep)}: {reason}")
    print(found.provenance)
    print(f"{out.name}: {len(found):,} rows of {found.width} numbers, {out.stat().st_size / 1e6:.1f} MB")
