"""Pieces of the report's page: style, tables, cells with intervals, figures, confusion matrices. Knows no metric's meaning."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:light-dark(#1c1f23,#e8e6e1);--soft:light-dark(#565b63,#a9adb3);
 --line:light-dark(#d9d6d0,#3a3e44);--paper:light-dark(#fff,#1f2226);--wash:light-dark(#fbfaf8,#16181b);
 --accent:light-dark(#0b5d7a,#7cc4de);--warn:light-dark(#6b4700,#f2cf86);--warn-wash:light-dark(#fdf3df,#3b2f14);
 --pass:light-dark(#1c5b33,#9bd8ae);--fail:light-dark(#8c1d18,#ffb4ab)}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:var(--wash);
 font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 48px 72px;background:var(--paper);min-height:100vh}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:19px;margin:48px 0 4px;padding-top:20px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:26px 0 6px}
p{margin:8px 0;max-width:76ch}.lead{color:var(--soft);margin:0 0 22px}
.note{color:var(--soft);font-size:13px}
.pass{color:var(--pass)}.fail{color:var(--fail);font-weight:600}
a{color:var(--accent)}nav{font-size:13px;margin:0 0 24px}nav a{text-decoration:none;margin-right:16px;display:inline-block}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:18px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card .what{font-size:12.5px;color:var(--soft)}.card .value{font-size:25px;font-weight:650;line-height:1.3}
.card .range{font-size:12.5px;color:var(--soft)}
.warn{border-left:3px solid;color:var(--warn);background:var(--warn-wash);padding:10px 18px;margin:18px 0;
 border-radius:0 6px 6px 0}
.warn ul{margin:4px 0;padding-left:18px}.warn li{margin:4px 0;font-size:14px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:12px 0;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child,th.l,td.l{text-align:left}
th{font-weight:600;font-size:12.5px;color:var(--soft);vertical-align:bottom}
td b{font-weight:600}td small{display:block;color:var(--soft);font-size:11.5px;white-space:nowrap}
tr.ref td{font-style:italic;color:var(--soft)}
.row{display:flex;flex-wrap:wrap;gap:12px 40px;align-items:flex-start}
figure{margin:14px 0}
figure img{max-width:100%;min-width:min(100%,340px);height:auto;display:block;background:#fff;border-radius:4px}
figure img.wide{min-width:620px}
figcaption,caption{font-size:13px;color:var(--soft);text-align:left;caption-side:bottom;padding-top:6px;max-width:76ch}
.matrix td,.matrix th{text-align:center;vertical-align:middle;padding:7px 0;width:58px;border:1px solid var(--paper)}
.matrix th:first-child{width:auto;padding-right:12px;text-align:right}
.matrix caption{caption-side:top;font-weight:600;color:var(--ink)}
.matrix td{color:#1c1f23}.matrix td small{display:inline;color:inherit}
.matrix td.diag{outline:1.5px solid var(--ink);outline-offset:-1.5px}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:14px;padding:0;list-style:none}
.shots img{width:100%;background:#000;border-radius:4px}
dt{font-weight:600;margin-top:10px}dd{margin:0;max-width:76ch}
details{margin:12px 0}summary{cursor:pointer;color:var(--accent);font-size:14px}
code{font-size:12.5px;background:var(--wash);padding:1px 4px;border-radius:3px;overflow-wrap:anywhere}
@media print{:root{color-scheme:light}body{background:#fff;font-size:11px}main{padding:0;max-width:none}nav{display:none}
 h2{break-after:avoid}figure,table,.card{break-inside:avoid}.scroll,figure{overflow:visible}}
@media(max-width:640px){main{padding:24px 16px}.matrix td,.matrix th{width:46px}}
"""
GLOSSARY = {
    "kappa": "Agreement of the answered grade with the reader's beyond chance; a grade that is far off counts more than one "
    "that is next to it (quadratic weights). 1 is perfect, 0 is chance.",
    "AUROC": "Chance that an eye with referable DR gets a higher probability than one without. 1 is perfect, 0.5 a coin.",
    "referable DR": "ICDR grade 2 (moderate) or worse.",
    "sensitivity": "Of those with referable DR, the share that is referred.",
    "specificity": "Of those without, the share that is not.",
    "balanced accuracy": "Recall averaged over the grades, so that common ones do not hide rare ones.",
    "ECE": "Expected calibration error: mean gap between a stated probability and how often it was so.",
    "interval": "Where the figure would lie in 95 of 100 repetitions with other patients of the same kind.",
    "strict recall at K": "How often the one right item is among the first K; the ceiling is what nobody can pass, since equal "
    "notes belong to several photographs.",
    "cosine": "Likeness of two vectors: 1 is the same direction.",
    "near-tie": "PyTorch's own answer was undecided between two grades: a change there says little.",
}
"""Terms of the reports, for those who are not of the field."""


def number(value: float, *, share: bool) -> str:
    """`93.8` (per cent) for a share, else three decimals; a true minus sign."""
    text = f"{100 * value:.1f}" if share else f"{value:.3f}"
    return "0" + text[2:] if float(text) == 0 and text.startswith("-") else text.replace("-", "−")


def span(figure: dict[str, Any], *, share: bool = True) -> str:
    """`91.2 to 95.9`; "" without an interval."""
    if not figure.get("interval"):
        return ""
    return " to ".join(number(bound, share=share) for bound in figure["interval"])


def cell(figure: dict[str, Any] | None, *, share: bool = True, show_n: bool = False) -> str:
    """A figure with its interval under it; a dash with the reason as a tooltip where it is undefined."""
    if figure is None:
        return "–"
    if figure["value"] is None:
        return f'<span title="{escape(figure["reason"])}">–</span>'
    under = span(figure, share=share) or f'<span title="{escape(figure.get("reason", ""))}">no interval</span>'
    count = f" · n {figure['n']}" if show_n else ""
    return f"<b>{number(figure['value'], share=share)}</b><small>{under}{count}</small>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    words: int = 1,
    reference: Iterable[Sequence[str]] = (),
) -> str:
    """A table of ready cells.

    Args:
        head: column titles, plain text.
        rows: HTML cells.
        caption: plain text below.
        words: leading columns that hold words and stand left.
        reference: rows to compare with, set in italics.
    """

    def line(tag: str, cells: Sequence[str], kind: str = "") -> str:
        # A column without a title has no header cell: a screen reader would read an empty one out.
        tags = [tag if text else "td" for text in cells]
        kinds = [" class=l" if i < words else "" for i in range(len(cells))]
        made = "".join(f"<{t}{k}>{text}</{t}>" for t, k, text in zip(tags, kinds, cells, strict=True))
        return f"<tr{kind}>{made}</tr>"

    body = [line("th", [escape(title) for title in head])]
    body += [line("td", cells) for cells in rows]
    body += [line("td", cells, " class=ref") for cells in reference]
    below = f"<caption>{escape(caption)}</caption>" if caption else ""
    return scrolled(f"<table>{below}{''.join(body)}</table>", caption or ", ".join(filter(None, head)))


def scrolled(content: str, words: str) -> str:
    """Content that may be wider than the screen, to be moved by keys as well; `words` say what it is."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(words or "table", quote=True)}">{content}</div>'


def image(svg: bytes | None, *, alt: str, caption: str = "", width: int = 0, wide: bool = False) -> str:
    """A drawing, inside the page itself; "" without one. A wide one keeps its size on a small screen, and is moved there."""
    if svg is None:
        return ""
    return figure(svg, media="image/svg+xml", alt=alt, caption=caption, width=width, wide=wide)


def figure(content: bytes, *, media: str, alt: str, caption: str = "", width: int = 0, wide: bool = False) -> str:
    """A picture of a media type; arguments as for `image`."""
    data = base64.b64encode(content).decode()
    size = (f' style="width:{width}px"' if width else "") + (" class=wide" if wide else "")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # What the caption says already need not be read out twice.
    words = "" if alt == caption else escape(alt, quote=True)
    picture = f'<img src="data:{media};base64,{data}" alt="{words}"{size}>'
    return f"<figure>{scrolled(picture, alt) if wide else picture}{below}</figure>"


def matrix(confusion: Sequence[Sequence[int]], *, title: str) -> str:
    """A confusion matrix: counts, and the share of the true grade as a shade; true grades in rows."""
    grades = range(len(confusion))
    rows = ["<tr><th>true \\ answered</th>" + "".join(f"<th>{grade}</th>" for grade in grades) + "</tr>"]
    for grade in grades:
        total = sum(confusion[grade])
        cells = []
        for answer in grades:
            count = confusion[grade][answer]
            share = count / total if total else 0.0
            mark = ' class="diag"' if grade == answer else ""
            percent = f"<br><small>{100 * share:.0f} %</small>" if count else ""
            cells.append(f'<td{mark} style="background:{_shade(share)}">{count}{percent}</td>')
        rows.append(f"<tr><th>{grade} <small>({total})</small></th>{''.join(cells)}</tr>")
    return scrolled(f'<table class="matrix"><caption>{escape(title)}</caption>{"".join(rows)}</table>', title)


def _shade(share: float) -> str:
    """White to a blue on which dark ink can still be read."""
    strength = 0.04 + 0.62 * share
    return "#" + "".join(f"{round(255 + strength * (full - 255)):02x}" for full in (0, 114, 178))


def card(what: str, figure: dict[str, Any] | None, *, share: bool, under: str = "") -> str:
    """A headline figure; "" where it is undefined."""
    if figure is None or figure["value"] is None:
        return ""
    unit = " %" if share else ""
    interval = span(figure, share=share)
    below = f"95 %: {interval}" if interval else figure.get("reason", "no interval")
    more = f"<br>{escape(under)}" if under else ""
    return (
        f'<div class="card"><div class="what">{escape(what)}</div>'
        f'<div class="value">{number(figure["value"], share=share)}{unit}</div>'
        f'<div class="range">{escape(below)}{more}</div></div>'
    )


def warning_box(title: str, sentences: Sequence[str]) -> str:
    """Sentences that must be read first; "" without any."""
    if not sentences:
        return ""
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<div class="warn"><strong>{escape(title)}</strong><ul>{listed}</ul></div>'


def glossary(*terms: str) -> str:
    """What these terms of `GLOSSARY` mean."""
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(GLOSSARY[term])}</dd>' for term in terms)}</dl>"


def whole(title: str, body: Sequence[str]) -> str:
    """The document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
