"""What frozen features know: k-NN, logistic regression, few labels, mistakes, and dense tasks on patches."""

from dinov2_edu.probe.correspondence import best_matches, correct_keypoints, precision_at_k, stereo_truth
from dinov2_edu.probe.curation import copy_groups, group_scores, keep_first, retrieve, retrieve_clusters
from dinov2_edu.probe.dense import DenseScores, dense_test
from dinov2_edu.probe.fewshot import FewShotPoint, few_shot_curve
from dinov2_edu.probe.finetune import Classifier, fine_tune
from dinov2_edu.probe.folds import Fold, image_folds
from dinov2_edu.probe.knn import knn_accuracy, knn_predict, knn_report, nearest
from dinov2_edu.probe.logistic import C_GRID, SHORT_C_GRID, LogisticProbe, Trial, logistic_probe
from dinov2_edu.probe.matching import CropPairs, crop_pairs, matched_shares
from dinov2_edu.probe.paired import PairedTest, paired_test
from dinov2_edu.probe.protocols import PROTOCOLS, Choice, ProtocolResult, official_probe
from dinov2_edu.probe.report import Calibration, ProbeReport, make_report
from dinov2_edu.probe.segmentation import (
    LinearSegmenter,
    class_shares,
    confusion,
    fit_segmenter,
    mean_iou,
    upsample,
)

__all__ = [
    "C_GRID",
    "PROTOCOLS",
    "SHORT_C_GRID",
    "Calibration",
    "Choice",
    "Classifier",
    "CropPairs",
    "DenseScores",
    "FewShotPoint",
    "Fold",
    "LinearSegmenter",
    "LogisticProbe",
    "PairedTest",
    "ProbeReport",
    "ProtocolResult",
    "Trial",
    "best_matches",
    "class_shares",
    "confusion",
    "copy_groups",
    "correct_keypoints",
    "crop_pairs",
    "dense_test",
    "few_shot_curve",
    "fine_tune",
    "fit_segmenter",
    "group_scores",
    "image_folds",
    "keep_first",
    "knn_accuracy",
    "knn_predict",
    "knn_report",
    "logistic_probe",
    "make_report",
    "matched_shares",
    "mean_iou",
    "nearest",
    "official_probe",
    "paired_test",
    "precision_at_k",
    "retrieve",
    "retrieve_clusters",
    "stereo_truth",
    "upsample",
]
