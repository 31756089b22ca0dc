from .core import *
from .ops import public
from .ops import random
from .api import *
from .dtypes import *
from . import dtypes
globals().update(public)
for k in dir(dtypes):
    if k in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split(): globals()[k]=getattr(dtypes,k)
from .core import tensor
