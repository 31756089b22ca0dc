"""The user's names in LaTeX: Greek letters, indices, paths."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["bar", "symbol", "upright"]

_GREEK: Final = frozenset(
    {
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
        "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi",
        "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi",
        "Psi", "Omega",
    }
)  # fmt: skip

#: Names that have a customary letter: those of the derivations in this project.
_CUSTOM: Final = {
    "var": r"\sigma^{2}", "variance": r"\sigma^{2}", "sigma2": r"\sigma^{2}", "std": r"\sigma",
    "eps": r"\varepsilon", "epsilon": r"\varepsilon", "loss": r"\mathcal{L}", "mean": r"\mu",
    "lambda_": r"\lambda", "delta": r"\delta",
}  # fmt: skip

_ACCENTS: Final = {"hat": "hat", "tilde": "tilde", "dot": "dot", "prime": None}
_WORD = re.compile(r"([A-Za-z]+?)_?(\d+)")


def upright(text: str) -> str:
    """Return text in upright letters, with everything special escaped."""
    return rf"\mathrm{{{_escaped(text)}}}"


def _escaped(text: str) -> str:
    special = {
        "\\": r"\backslash ", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "$": r"\$",
        "#": r"\#", "&": r"\&", "^": r"\wedge ", "~": r"\sim ", " ": r"\ ", "∂": r"\partial ",
    }  # fmt: skip
    printable = (c for c in text if c.isprintable())
    return "".join(special.get(c, c) for c in printable)


def symbol(name: str) -> str:
    r"""Return a name as a symbol: ``mu`` is ``\mu``, ``w1`` is ``w_{1}``.

    The path of a layer becomes an index: ``fc.weight`` is weight with index fc.
    Names of the form ``d_u`` stay words, so that they are not taken for a product.
    """
    path, _, last = name.rpartition(".")
    base = _plain(last or name)
    if not path:
        return base
    inside = _escaped(path)
    return rf"{{{base}}}_{{\mathrm{{{inside}}}}}"


def _plain(name: str) -> str:
    if name in _CUSTOM:
        return _CUSTOM[name]
    if name in _GREEK:
        return f"\\{name}"
    if len(name) == 1 and name.isalpha():
        return name
    numbered = _WORD.fullmatch(name)
    if numbered:
        stem = numbered[1]
        if stem in _GREEK or len(stem) == 1:
            return rf"{_plain(stem)}_{{{numbered[2]}}}"
    stem, _, accent = name.rpartition("_")
    if stem and accent in ("hat", "tilde") and "_" not in stem:
        return rf"\{_ACCENTS[accent]}{{{_plain(stem)}}}"
    return upright(name)


def bar(text: str) -> str:
    r"""Return the symbol of a cotangent, ``\bar{u}``."""
    return rf"\bar{{{text}}}" if len(text) <= 8 else rf"\overline{{{text}}}"
