"""The command `python -m dinov2_edu study`: what preprocessing and C are worth, as a table."""

import argparse

from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.inputs import (
    backbone_of,
    c_grid_of,
    check_size,
    default_sizes,
    device_of,
    extraction_of,
    pictures_of,
)
from dinov2_edu.experiments.study_rows import run_study, study_preprocessings
from dinov2_edu.experiments.study_text import study_summary, study_table, write_csv
from dinov2_edu.features.sources import as_pictures


def run(options: argparse.Namespace) -> None:
    """Probe every preprocessing; print the table and what each choice is worth.

    Raises:
        ValueError: options or pictures that cannot be used.
    """
    c_grid = c_grid_of(options)
    backbone = backbone_of(options, device_of(options.device))
    sizes = tuple(options.sizes or default_sizes(backbone))
    for size in sizes:
        check_size(size, backbone, "--sizes")
    say("reading the pictures")
    train, test = pictures_of(options)
    pictures, held = as_pictures(train), as_pictures(test)
    # Pictures of a folder have any size: there no combination is left out.
    smallest = min(pictures.images.shape[-2:]) if hasattr(pictures, "images") else max(sizes) + 1
    rows = run_study(
        backbone.model,
        train,
        test,
        study_preprocessings(sizes, smallest),
        c_grid=c_grid,
        **extraction_of(options),
    )
    print(f"\nWeights: {backbone.name}. {backbone.notice}")
    print(f"Training: {len(pictures)} pictures, {pictures.name}. Test: {len(held)} pictures, {held.name}.\n")
    print(study_table(rows) + "\n\n" + study_summary(rows))
    if options.out:
        write_csv(rows, options.out)
