"""Colours, shapes and letter widths: everything about how a picture looks, and nothing else.

A role is told by its colour and, for readers without colour, by its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "ALARM", "FAMILY", "LINK", "PAPER", "ROLES", "SIZE", "SMALL", "SOFT", "TONES",
    "WIRE", "Look", "Shape", "fitted", "text_width",
]  # fmt: skip

Shape: TypeAlias = Literal[
    "round", "slanted", "folded", "box", "dashed", "double", "cut", "cut_double", "tag"
]

FAMILY: Final = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
SIZE: Final = 11.0  # pixels, of the letters in a box
SMALL: Final = 9.5  # pixels, of its details and of what is written on edges

INK: Final = "#1f2933"
SOFT: Final = "#66727f"
WIRE: Final = "#8a96a3"
LINK: Final = "#b9a6cc"
ALARM: Final = "#c8102e"
PAPER: Final = "#ffffff"

#: The colour of a line of text, by tone.
TONES: Final = {
    "ink": INK, "soft": SOFT, "alarm": ALARM, "gradient": "#6f3fa0", "dead": "#a65a00",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How boxes of one role look, and what the legend calls them."""

    shape: Shape
    fill: str
    stroke: str
    meaning: str
    dot_shape: str = "box"
    dot_style: str = "filled"


ROLES: Final[dict[str, Look]] = {
    "input": Look("slanted", "#e9f2fb", "#4a7fb5", "input", "parallelogram"),
    "parameter": Look("folded", "#fff5dd", "#c2933a", "parameter", "note"),
    "state": Look("folded", "#f3eee6", "#a38c6d", "state", "note"),
    "constant": Look("dashed", "#fafafa", "#9aa5b1", "constant", "box", "filled,dashed"),
    "operation": Look("round", "#f3f6f9", "#8fa1b3", "operation", "box", "filled,rounded"),
    "layer": Look("round", "#eaf0f6", "#6b8299", "layer", "box", "filled,rounded"),
    "output": Look("double", "#e4f4ea", "#3d8b5f", "result", "box", "filled,rounded"),
    "gradient": Look("cut", "#f6f1fa", "#a58bc0", "backward", "octagon"),
    "gradient_layer": Look("cut", "#f0e8f7", "#8a66ad", "backward of a layer", "octagon"),
    "gradient_output": Look("cut_double", "#e9dcf4", "#6f3fa0", "gradient", "octagon"),
    "update": Look("tag", "#fdeee4", "#c4753f", "new value of state", "cds"),
}

# Advance widths in thousandths of the font size of the characters from space to tilde, in
# DejaVu Sans and its bold: the widest of the usual faces, so that text fits in any of them.
_REGULAR = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
_BOLD = (
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696,
    696, 696, 696, 696, 696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683,
    683, 821, 837, 372, 372, 775, 637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771,
    724, 725, 457, 365, 457, 838, 500, 500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665,
    343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712, 365, 712, 838,
)  # fmt: skip
_OTHER = 700  # Greek letters and signs
_WIDE = 1000  # from U+1100 on most scripts that are wider than Latin


def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Return the width of a line of text in pixels; every usual face is at most as wide."""
    table = _BOLD if bold else _REGULAR
    total = 0
    for character in text:
        code = ord(character)
        if 32 <= code < 127:
            total += table[code - 32]
        elif code < 0x1100 or 0x1D00 <= code < 0x2E80:
            total += 838 if 0x2190 <= code < 0x2300 else _OTHER
        else:
            total += _WIDE
    return total * size / 1000.0


def fitted(text: str, limit: int) -> str:
    """Return text of at most ``limit`` characters, cut in the middle, on one line."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    tail = (limit - 1) // 3
    return f"{flat[: limit - 1 - tail]}…{flat[-tail:]}"
