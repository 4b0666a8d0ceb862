"""Draw docs/pictures/study.svg: how a bundle is made, and a study's way through a server. Standard library alone.

python scripts/readme_picture.py
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "study.svg"
WIDTH, HEIGHT = 1000, 372
LINE_PX = 17
STYLE = """
svg { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif }
.ground { fill: #ffffff } .band { fill: #f3f5f8 } .box { fill: #ffffff; stroke: #8a94a3 }
.strong { stroke: #1f6feb; stroke-width: 2 }
text { fill: #1c2430 } .small { fill: #57606c; font-size: 11.5px } .title { font-weight: 600 }
.arrow { stroke: #57606c; stroke-width: 1.5; fill: none } .head { fill: #57606c }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117 } .band { fill: #161b22 } .box { fill: #21262d; stroke: #6e7681 } .strong { stroke: #58a6ff }
  text { fill: #e6edf3 } .small { fill: #9da7b3 } .arrow { stroke: #9da7b3 } .head { fill: #9da7b3 }
}
"""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box with a title and smaller lines; pixels."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    strong: bool = False

    def svg(self) -> str:
        """The box, its text in its middle."""
        kind = "box strong" if self.strong else "box"
        middle = self.x + self.width / 2
        top = self.y + self.height / 2 - len(self.lines) * LINE_PX / 2 + 5
        rows = [f'<text class="title" x="{middle}" y="{top}" text-anchor="middle">{escape(self.title)}</text>']
        for place, line in enumerate(self.lines, 1):
            y = top + place * LINE_PX
            rows.append(f'<text class="small" x="{middle}" y="{y}" text-anchor="middle">{escape(line)}</text>')
        rectangle = f'<rect class="{kind}" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6"/>'
        return rectangle + "".join(rows)

    @property
    def left(self) -> tuple[float, float]:
        """Middle of the left edge."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        """Middle of the right edge."""
        return self.x + self.width, self.y + self.height / 2


def arrow(*points: tuple[float, float]) -> str:
    """A line through `points` with a head at the last."""
    path = " L ".join(f"{x} {y}" for x, y in points)
    return f'<path class="arrow" d="M {path}" marker-end="url(#head)"/>'


def label(x: float, y: float, text: str, kind: str = "title") -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def picture() -> str:
    """The whole SVG."""
    data = Box(x=30, y=46, width=150, height=62, title="data sets", lines=("BRSET, mBRSET, IDRiD", "DeepEyeNet, a folder"))
    train = Box(x=222, y=46, width=150, height=62, title="foveal train", lines=("PyTorch, FP32", "calibrated, held out"))
    export = Box(x=414, y=46, width=150, height=62, title="foveal export", lines=("ONNX graphs", "FP32, FP16, INT8"))
    proof = Box(x=606, y=46, width=158, height=62, title="verified", lines=("against PyTorch;", "out of budget: no bundle"))
    bundle = Box(
        x=806, y=46, width=164, height=62, title="bundle", lines=("graphs, golden studies", "parity.json, hashes"), strong=True
    )

    inputs = [
        Box(x=30, y=176 + 56 * place, width=150, height=42, title=title, lines=(line,))
        for place, (title, line) in enumerate(
            (("photograph", "JPEG, PNG, DICOM …"), ("note", "free text"), ("record", "age, sex, diabetes …"))
        )
    ]
    admit = Box(
        x=222, y=204, width=120, height=100, title="gRPC", lines=("size, deadline,", "queue, quality:", "blurred is refused")
    )
    encode = Box(
        x=384, y=204, width=130, height=100, title="three encoders", lines=("one a modality;", "any subset", "is a legal input")
    )
    fuse = Box(x=556, y=204, width=120, height=100, title="fusion", lines=("transformer over", "the tokens, with", "a mask"))
    grades = Box(x=738, y=176, width=232, height=56, title="grades", lines=("ICDR, SDRG, referable; calibrated",))
    archive = Box(
        x=738, y=276, width=232, height=56, title="vectors → archive → search", lines=("PostgreSQL + pgvector, embedded",)
    )

    middle = fuse.right[1]
    arrows = [
        *(arrow(a.right, b.left) for a, b in ((data, train), (train, export), (export, proof), (proof, bundle))),
        *(arrow(each.right, (201, each.right[1]), (201, middle), admit.left) for each in inputs),
        arrow(admit.right, encode.left),
        arrow(encode.right, fuse.left),
        arrow(fuse.right, (707, middle), (707, grades.left[1]), grades.left),
        arrow(fuse.right, (707, middle), (707, archive.left[1]), archive.left),
        arrow((888, 108), (888, 141), (500, 141), (500, 203)),
    ]
    boxes = [data, train, export, proof, bundle, *inputs, admit, encode, fuse, grades, archive]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"',
            f'width="{WIDTH}" height="{HEIGHT}">',
            "<title>How a bundle is made, and a study's way through a server</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
            '<path class="head" d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>',
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            '<rect class="band" x="12" y="12" width="976" height="112" rx="8"/>',
            '<rect class="band" x="12" y="152" width="976" height="206" rx="8"/>',
            label(30, 34, "Make (PyTorch)"),
            label(222, 190, "Serve (ONNX Runtime, no PyTorch)"),
            label(512, 136, "golden studies are replayed before the first answer", "small"),
            *arrows,
            *(box.svg() for box in boxes),
            "</svg>\n",
        ]
    )


def main() -> int:
    """Write the picture."""
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(picture(), encoding="utf-8")
    print(TARGET)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
