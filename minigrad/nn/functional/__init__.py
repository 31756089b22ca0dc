"""Layers, activations and losses as functions, with PyTorch's names and order of arguments."""

from .activation import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .classification import accuracy, cross_entropy, nll_loss
from .conditional import adain
from .convolution import conv1d, conv2d
from .dense import embedding, linear, normalize, one_hot
from .dropping import dropout
from .normalization import batch_norm, group_norm, instance_norm, layer_norm
from .pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from .probability import binary_cross_entropy, binary_cross_entropy_with_logits, kl_div
from .regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .reparametrised import weight_norm, weight_standardization

__all__ = [
    "accuracy",
    "adain",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "huber_loss",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "relu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
    "weight_norm",
    "weight_standardization",
]
