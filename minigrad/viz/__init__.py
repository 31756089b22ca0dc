"""Pictures, equations, tables and questions about graphs."""

from .doctor import doctor, layout_route
from .draw import draw
from .equations import Equations, equations, latex
from .flow import gradient_flow
from .html import mimebundle, register
from .magics import draw_result, gradcheck_result
from .networkx import from_networkx, to_networkx
from .picture import Picture
from .queries import bottlenecks, dead_parameters, paths, saved_for_backward
from .table import Table, table

__all__ = [
    "Equations", "Picture", "Table", "bottlenecks", "dead_parameters", "doctor", "draw",
    "draw_result", "equations", "from_networkx", "gradcheck_result", "gradient_flow", "latex",
    "layout_route", "mimebundle", "paths", "register", "saved_for_backward", "table",
    "to_networkx",
]  # fmt: skip
