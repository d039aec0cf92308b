"""Features as a file that other programs read: numpy's .npz, or Parquet for pandas, polars and databases."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dinov2_edu.checks import checked, require
from dinov2_edu.features.extract import Features
from dinov2_edu.files import local_path, write_whole

ENDINGS = (".npz", ".parquet")


@checked
def table_path(path: str | os.PathLike) -> Path:
    """A path that `save_table` can write; asked before the features are made, which may take hours.

    Raises:
        ValueError: another ending, or Parquet without the package that writes it.
    """
    place = local_path(path)
    require(place.suffix in ENDINGS, f"{place.name}: wanted a name that ends in {' or '.join(ENDINGS)}")
    missing = place.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None
    require(
        not missing, "a Parquet file is written by the package pyarrow: pip install pyarrow, or ask for .npz"
    )
    return place


@checked
def save_table(
    path: str | os.PathLike, features: Features, names: Sequence[str], classes: Sequence[str] | None = None
) -> Path:
    """Write features, a row a picture, with the picture's name beside each row; the file is there whole or not at all.

    The columns are `path`, `class` where classes are given, `cls` (class token of the last block) and `patch_mean`
    (mean patch token), as arrays of single precision; and what made them, `made_by`: in a .npz file an array more, in
    a Parquet file metadata.

    Args:
        path: ends in .npz or .parquet.
        features: from `extract_features`.
        names: of all pictures that were given to it, also of skipped ones; `features.indices` chooses.
        classes: likewise a class each, "" for none.

    Returns:
        The path.

    Raises:
        ValueError: another ending, or fewer names than pictures.
        OSError: the file cannot be written.
    """
    place, rows = table_path(path), features.indices.tolist()
    for what, given in (("names", names), ("classes", classes)):
        enough = given is None or len(given) > max(rows, default=-1)
        require(enough, f"{what}: wanted one for each of {max(rows, default=-1) + 1} pictures or more")
    columns: dict[str, Any] = {"path": [names[row] for row in rows]}
    if classes is not None:
        columns["class"] = [classes[row] for row in rows]
    columns |= {name: getattr(features, name).numpy() for name in ("cls", "patch_mean")}
    write = _write_npz if place.suffix == ".npz" else _write_parquet
    return write_whole(place, lambda file: write(file, columns, features.provenance))


def _write_npz(file: IO[bytes], columns: dict[str, Any], made_by: str) -> None:
    arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns.items()}
    np.savez(file, **arrays, made_by=np.array(made_by))


def _write_parquet(file: IO[bytes], columns: dict[str, Any], made_by: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, column in columns.items():
        if isinstance(column, np.ndarray):
            values = pa.array(np.ascontiguousarray(column).ravel())
            arrays[name] = pa.FixedSizeListArray.from_arrays(values, column.shape[1])
        else:
            arrays[name] = pa.array(column, pa.string())
    pq.write_table(pa.table(arrays).replace_schema_metadata({"made_by": made_by}), file)
