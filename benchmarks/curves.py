"""Curves through measured points: linear, power, saturating and Amdahl's, with residuals, and their picture. Measures nothing.

All fits are of relative errors: a point of 2 ms weighs as much as one of 2 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A curve y(x) and how far measured points are from it."""

    form: str
    parameters: dict[str, float]
    residuals: list[float] = field(default_factory=list)
    """(curve - measured) / measured, of each point."""

    @property
    def rms(self) -> float:
        """Root of the mean square of the residuals."""
        return math.sqrt(sum(each**2 for each in self.residuals) / max(1, len(self.residuals)))

    def at(self, x: float) -> float:
        """The curve."""
        return FORMS[self.form](x, self.parameters)

    def document(self) -> dict[str, Any]:
        """For a result file."""
        return {
            "form": self.form,
            "parameters": {name: float(f"{value:.4g}") for name, value in self.parameters.items()},
            "residuals": [round(each, 4) for each in self.residuals],
            "rms": round(self.rms, 4),
        }


FORMS: dict[str, Callable[[float, dict[str, float]], float]] = {
    "a + b x": lambda x, p: p["a"] + p["b"] * x,
    "a x^slope": lambda x, p: p["a"] * x ** p["slope"],
    "most x / (x + half)": lambda x, p: p["most"] * x / (x + p["half"]),
    "one x / (1 + serial (x - 1))": lambda x, p: p["one"] * x / (1 + p["serial"] * (x - 1)),
}


def _with_residuals(form: str, parameters: dict[str, float], x: Sequence[float], y: Sequence[float]) -> Fit:
    residuals = [(FORMS[form](one, parameters) - other) / other for one, other in zip(x, y, strict=True)]
    return Fit(form=form, parameters=parameters, residuals=residuals)


def _solved(columns: Sequence[Any], y: Any) -> list[float]:
    """Coefficients of columns whose sum is y, each row divided by its y."""
    rows = np.stack(columns, axis=1) / y[:, None]
    return [float(value) for value in np.linalg.lstsq(rows, np.ones(len(y)), rcond=None)[0]]


def linear(x: Sequence[float], y: Sequence[float]) -> Fit:
    """y = a + b x, with a >= 0: what is paid once and what each costs. Two points at least, y > 0."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    a, b = _solved((np.ones_like(xs), xs), ys)
    if a < 0:
        a, (b,) = 0.0, _solved((xs,), ys)
    return _with_residuals("a + b x", {"a": a, "b": b}, x, y)


def power(x: Sequence[float], y: Sequence[float]) -> Fit:
    """y = a x^slope, straight in logarithms. Two points at least, x and y > 0."""
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return _with_residuals("a x^slope", {"a": float(np.exp(intercept)), "slope": float(slope)}, x, y)


def saturating(x: Sequence[float], y: Sequence[float]) -> Fit:
    """y = most x / (x + half): 1/y is linear in 1/x. Two points at least, x and y > 0."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    # Relative errors of 1/y are those of y.
    low, rise = _solved((np.ones_like(xs), 1 / xs), 1 / ys)
    if low <= 0:
        raise ValueError(f"rates {list(y)} do not level off at {list(x)}; measure more callers")
    return _with_residuals("most x / (x + half)", {"most": 1 / low, "half": max(0.0, rise / low)}, x, y)


def amdahl(cores: Sequence[float], rates: Sequence[float]) -> Fit:
    """rate = one c / (1 + serial (c - 1)), Amdahl's law: what one core does, and the share that more cores do not shorten.

    c / rate = (1 - serial) / one + serial / one * c. One measured rate alone leaves serial unknown: 0 then, an upper bound.
    """
    form = "one x / (1 + serial (x - 1))"
    if len(cores) == 1:
        return _with_residuals(form, {"one": rates[0] / cores[0], "serial": 0.0}, cores, rates)
    xs, ys = np.asarray(cores, float), np.asarray(rates, float)
    low, rise = _solved((np.ones_like(xs), xs), xs / ys)
    if rise < 0:  # faster than in proportion: noise, or memory that one core can't fill
        (low,) = _solved((np.ones_like(xs),), xs / ys)
        rise = 0.0
    return _with_residuals(form, {"one": 1 / (low + rise), "serial": rise / (low + rise)}, cores, rates)


def better(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Of linear and power, the one that is closer."""
    return min((linear(x, y), power(x, y)), key=lambda fit: fit.rms)


def draw(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Fit | None]],
    *,
    x: str,
    y: str,
    logarithmic: bool = True,
) -> None:
    """An SVG of points and, where there is one, the curve through them.

    Args:
        path: of the file.
        curves: by label: x, y and the fit.
        x: label of the axis, with its unit.
        y: the same.
        logarithmic: both axes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (label, (xs, ys, fit)) in enumerate(curves.items()):
        axes.plot(xs, ys, "o", color=f"C{number}", label=label)
        if fit is not None:
            fine = np.geomspace(min(xs), max(xs), 200)
            told = ", ".join(f"{name} {value:.3g}" for name, value in fit.parameters.items())
            axes.plot(fine, [fit.at(each) for each in fine], color=f"C{number}", linewidth=1, label=f"{fit.form}: {told}")
    axes.set(xlabel=x, ylabel=y, **({"xscale": "log", "yscale": "log"} if logarithmic else {}))
    axes.grid(visible=True, linewidth=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": path.suffix}):  # the same points are the same bytes
        figure.savefig(path, metadata={"Date": None})
