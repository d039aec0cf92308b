"""What frozen features know: k-NN, logistic regression, few labels, and a report that shows the mistakes."""

from dinov2_edu.probe.fewshot import FewShotPoint, few_shot_curve
from dinov2_edu.probe.knn import knn_accuracy, knn_predict, knn_report, nearest
from dinov2_edu.probe.logistic import C_GRID, SHORT_C_GRID, LogisticProbe, Trial, logistic_probe
from dinov2_edu.probe.matching import CropPairs, crop_pairs, matched_shares
from dinov2_edu.probe.paired import PairedTest, paired_test
from dinov2_edu.probe.protocols import PROTOCOLS, Choice, ProtocolResult, official_probe
from dinov2_edu.probe.report import Calibration, ProbeReport, make_report, wilson_interval

__all__ = [
    "C_GRID",
    "PROTOCOLS",
    "SHORT_C_GRID",
    "Calibration",
    "Choice",
    "CropPairs",
    "FewShotPoint",
    "LogisticProbe",
    "PairedTest",
    "ProbeReport",
    "ProtocolResult",
    "Trial",
    "crop_pairs",
    "few_shot_curve",
    "knn_accuracy",
    "knn_predict",
    "knn_report",
    "logistic_probe",
    "make_report",
    "matched_shares",
    "nearest",
    "official_probe",
    "paired_test",
    "wilson_interval",
]
