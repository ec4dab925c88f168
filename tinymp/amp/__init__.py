"""Mixed precision training: autocast, loss scaling, master weights, and their combinations."""

from __future__ import annotations

from tinymp.amp.autocast import autocast
from tinymp.amp.captured_backward import CapturedBackward, capture_backward
from tinymp.amp.diagnosis import LossScaleWarning, ScaleRecord
from tinymp.amp.grad_scaler import GradScaler
from tinymp.amp.loss_scale import (
    DynamicLossScale,
    GradualLossScale,
    HysteresisLossScale,
    LogMaxLossScale,
    LossScalePolicy,
    ScaleState,
    StaticLossScale,
)
from tinymp.amp.master_weights import MasterWeights
from tinymp.amp.policy import POLICIES, Policy, get_policy

__all__ = [
    "POLICIES",
    "CapturedBackward",
    "DynamicLossScale",
    "GradScaler",
    "GradualLossScale",
    "HysteresisLossScale",
    "LogMaxLossScale",
    "LossScalePolicy",
    "LossScaleWarning",
    "MasterWeights",
    "Policy",
    "ScaleRecord",
    "ScaleState",
    "StaticLossScale",
    "autocast",
    "capture_backward",
    "get_policy",
]
