"""What an installed wheel must be able to do in an empty folder, without a network: run by the release workflow.

python tests/release/smoke.py
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["DINOV2_EDU_OFFLINE"] = "1"

import torch

import dinov2_edu
from dinov2_edu import dinov2
from dinov2_edu.data import patterns10, sample_image
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.training import FitOptions, build_state, fit
from dinov2_edu.weights import load_backbone
from dinov2_edu.widgets.crops import CropsWidget


def main() -> None:
    """Raise where something is missing from the wheel."""
    here = Path.cwd().resolve()
    assert here not in Path(dinov2_edu.__file__).resolve().parents, "this is the source, not the wheel"

    photo = sample_image("china")
    model = load_backbone("book")
    quiet = ExtractOptions(progress=False)
    features = extract_features(model, [photo], preprocessing=Preprocessing(size=64), options=quiet)
    assert features.cls.shape == (1, model.config.width) and bool(features.cls.isfinite().all())

    images = patterns10(64).images
    config = replace(patterns10_run(), steps=2, warmup_steps=1, batch_size=16)
    with TemporaryDirectory() as folder:
        state = fit(build_state(config), images, FitOptions(progress=False, folder=folder))
        assert state.step == 2
        again = load_backbone(folder)
        assert again.config == config.vit

    assert "render" in CropsWidget(photo)._esm, "the controls' scripts are not in the wheel"
    assert callable(dinov2.train_step)
    said = subprocess.run([sys.executable, "-m", "dinov2_edu"], capture_output=True, text=True, check=False)
    assert "train" in said.stdout, said.stderr
    print(
        f"dinov2_edu {dinov2_edu.__version__}, Python {sys.version.split()[0]}, torch {torch.__version__}: well"
    )


if __name__ == "__main__":
    main()
