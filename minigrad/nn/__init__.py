"""Layers (floor 6): compositions of primitives. Nothing here knows a gradient.

Names, keywords and their order are PyTorch's; labels are integers and channels are axis 1.
"""

from . import (
    functional,
    init,
    tree,  # noqa: F401  (makes a Module a tree for mg.grad and the others)
)
from .activation import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .batch_norm import BatchNorm, SyncBatchNorm
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import Conv1d, Conv2d
from .dense import Embedding, Flatten, Linear, Unflatten
from .dropout import DropConnect, Dropout
from .ensemble import (
    Bagging,
    geometric_mean,
    monte_carlo,
    subnetworks,
)
from .folding import fold_dropout
from .loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .module import Module
from .norm import AdaIN, GroupNorm, InstanceNorm, LayerNorm
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from .population import population_statistics
from .reparametrised import WeightNorm, WeightStandardization
from .spade import SPADE

__all__ = [
    "ELU",
    "GELU",
    "SPADE",
    "AdaIN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Bagging",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "DropConnect",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "HuberLoss",
    "Identity",
    "InstanceNorm",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "SyncBatchNorm",
    "Tanh",
    "Unflatten",
    "WeightNorm",
    "WeightStandardization",
    "fold_dropout",
    "functional",
    "geometric_mean",
    "init",
    "monte_carlo",
    "population_statistics",
    "subnetworks",
]

#: Layers that other libraries have once for each number of axes.
_ONCE = ("BatchNorm", "InstanceNorm", "SyncBatchNorm")


def __getattr__(name: str) -> object:
    stem = name[:-2] if name.endswith(("1d", "2d", "3d")) else ""
    hint = f": it is nn.{stem}, for any number of axes" if stem in _ONCE else ""
    raise AttributeError(f"module 'minigrad.nn' has no attribute {name!r}{hint}")
