"""Draws curves over logarithmic axes as SVG: enough for cost against the number of files."""

import html
import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 40, 50
_COLOURS = ("#1b6ca8", "#888888", "#c1432e", "#3b8f4b", "#8a4fa3", "#c98a1b")

Curve = Sequence[tuple[float, float]]


def draw(title: str, x_label: str, y_label: str, curves: Mapping[str, Curve]) -> str:
    """Return an SVG document; every value has to be above zero."""
    points = [point for curve in curves.values() for point in curve]
    x_axis = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, "start"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_label, "middle"),
        f'<g transform="rotate(-90 16 {_HEIGHT / 2})">{_text(16, _HEIGHT / 2, y_label, "middle")}</g>',
    ]
    for value, x in x_axis.ticks():
        parts.append(_line([(x, _TOP), (x, _HEIGHT - _BOTTOM)], "#dddddd", 1))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, f"{value:,.0f}", "middle"))
    for value, y in y_axis.ticks():
        parts.append(_line([(_LEFT, y), (_WIDTH - _RIGHT, y)], "#dddddd", 1))
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(x_axis.place(x), y_axis.place(y)) for x, y in curve]
        parts.append(_line(placed, colour, 2))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        height = _TOP + 18 * number
        parts.append(
            _line([(_WIDTH - _RIGHT + 14, height), (_WIDTH - _RIGHT + 34, height)], colour, 2)
        )
        parts.append(_text(_WIDTH - _RIGHT + 40, height + 4, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """Whole decades around the values, laid out between two pixels."""

    def __init__(self, values: Sequence[float], start: float, stop: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(self._low + 1, math.ceil(math.log10(max(values))))
        self._start, self._stop = start, stop

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._stop - self._start)

    def ticks(self) -> list[tuple[float, float]]:
        values = [10.0**power for power in range(self._low, self._high + 1)]
        return [(value, self.place(value)) for value in values]


def _line(points: Sequence[tuple[float, float]], colour: str, width: int) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
