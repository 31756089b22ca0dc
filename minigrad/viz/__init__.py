"""Pictures, equations, tables and questions about graphs."""

from .draw import draw
from .picture import Picture

__all__ = ["Picture", "draw"]
