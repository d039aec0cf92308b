"""The command `python -m dinov2_edu doctor`: what a training log shows, and what to try."""

import argparse
import math
import shutil
import textwrap

from dinov2_edu.experiments.sparklines import sparkline
from dinov2_edu.training.doctor import Findings, Log, examine, read_log

DRAWN = {
    "loss": "loss, as logged",
    "dino": "DINO loss",
    "ibot": "iBOT loss",
    "koleo": "KoLeo",
    "target_entropy": "target entropy",
    "mean_target_entropy": "mean target's",
    "feature_spread": "feature spread",
    "knn": "k-NN accuracy",
    "lr": "learning rate",
    "momentum": "momentum",
    "teacher_temperature": "temperature",
}
"""Curves that are drawn, and what they are called."""


def run(options: argparse.Namespace) -> None:
    """Read a log and print curves, verdict, evidence, suspects and what is missing.

    Raises:
        ValueError: no log that can be read.
    """
    log = read_log(options.log)
    width = min(100, shutil.get_terminal_size().columns)
    print("\n".join([*curves_text(log), "", *findings_text(examine(log, options.prototypes), width)]))
    print("\n".join(f"\n{note}" for note in log.notes), end="\n" if log.notes else "")


def curves_text(log: Log) -> list[str]:
    """A line for each curve: first value, its course, last value."""
    lines = []
    for name, title in DRAWN.items():
        values = (
            [value for value in log.curves[name].values if math.isfinite(value)] if name in log.curves else []
        )
        if values:
            lines.append(
                f"  {title:<16} {values[0]:10.4g} {sparkline(values)} {log.curves[name].values[-1]:.4g}"
            )
    return lines


def findings_text(findings: Findings, width: int) -> list[str]:
    """The findings in paragraphs of at most `width` characters."""

    def item(mark: str, text: str) -> str:
        return textwrap.fill(text, width, initial_indent=f"  {mark} ", subsequent_indent="    ")

    lines = [findings.title, *(item("-", text) for text in findings.evidence)]
    for number, cause in enumerate(findings.causes, 1):
        lines += ["", f"Suspect {number}: {cause.title}", item("-", cause.evidence), item(">", cause.advice)]
    if not findings.causes and findings.advice:
        lines += ["", "No number here points to a cause.", item(">", findings.advice)]
    if findings.unseen:
        lines += ["", "Not in this log:", *(item("-", text) for text in findings.unseen)]
    return lines
