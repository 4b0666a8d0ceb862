"""Pieces of the report's page: style, tables, cells with intervals, figures, confusion matrices. Knows no metric's meaning."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root{--ink:#1d232b;--soft:#5b6470;--line:#dfe3e8;--paper:#fff;--wash:#f5f7f9;--blue:#0072b2;--amber:#9a6200}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:var(--wash);
 font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 48px 72px;background:var(--paper);min-height:100vh}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:19px;margin:48px 0 4px;padding-top:20px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:26px 0 6px}
p{margin:8px 0;max-width:76ch}.lead{color:var(--soft);margin:0 0 22px}
.note{color:var(--soft);font-size:13px}
nav{font-size:13px;margin:0 0 24px}nav a{color:var(--blue);text-decoration:none;margin-right:16px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:18px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card .what{font-size:12.5px;color:var(--soft)}.card .value{font-size:25px;font-weight:650;line-height:1.3}
.card .range{font-size:12.5px;color:var(--soft)}
.warn{border-left:3px solid #e69f00;background:#fdf7ea;padding:10px 18px;margin:18px 0;border-radius:0 6px 6px 0}
.warn h3{margin:2px 0 4px;color:var(--amber)}.warn ul{margin:4px 0;padding-left:18px}.warn li{margin:4px 0;font-size:14px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:12px 0;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child,th.l,td.l{text-align:left}
th{font-weight:600;font-size:12.5px;color:var(--soft);vertical-align:bottom}
td b{font-weight:600}td small{display:block;color:var(--soft);font-size:11.5px;white-space:nowrap}
tr.ref td{font-style:italic;color:var(--soft)}
.row{display:flex;flex-wrap:wrap;gap:12px 40px;align-items:flex-start}
figure{margin:14px 0}figure img{max-width:100%;height:auto;display:block}
figcaption,caption{font-size:13px;color:var(--soft);text-align:left;caption-side:bottom;padding-top:6px;max-width:76ch}
.matrix td,.matrix th{text-align:center;vertical-align:middle;padding:7px 0;width:58px;border:1px solid #fff}
.matrix th:first-child{width:auto;padding-right:12px;text-align:right}
.matrix caption{caption-side:top;font-weight:600;color:var(--ink)}
.matrix td small{display:inline;opacity:.75;color:inherit}
.matrix td.diag{outline:1.5px solid var(--ink);outline-offset:-1.5px}
details{margin:12px 0}summary{cursor:pointer;color:var(--blue);font-size:14px}
code{font-size:12.5px;background:var(--wash);padding:1px 4px;border-radius:3px;overflow-wrap:anywhere}
@media print{body{background:#fff;font-size:11px}main{padding:0;max-width:none}nav{display:none}
 h2{break-after:avoid}figure,table,.card{break-inside:avoid}}
@media(max-width:640px){main{padding:24px 18px}}
"""


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
        made = "".join(f"<{tag}{' class=l' if i < words else ''}>{text}</{tag}>" for i, text in enumerate(cells))
        return f"<tr{kind}>{made}</tr>"

    body = [line("th", [escape(title) for title in head])]
    body += [line("td", cells) for cells in rows]
    body += [line("td", cells, " class=ref") for cells in reference]
    below = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{below}{"".join(body)}</table></div>'


def image(svg: bytes | None, *, alt: str, caption: str = "", width: int = 0) -> str:
    """A figure, inside the page itself; "" without one."""
    if svg is None:
        return ""
    data = base64.b64encode(svg).decode()
    size = f' style="width:{width}px"' if width else ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt, quote=True)}"{size}>{below}</figure>'


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
            ink = "#fff" if share > 0.55 else "var(--ink)" if count else "#b4bac2"
            mark = ' class="diag"' if grade == answer else ""
            percent = f"<br><small>{100 * share:.0f} %</small>" if count else ""
            shade = f"background:rgba(0,114,178,{0.04 + 0.9 * share:.2f});color:{ink}"
            cells.append(f'<td{mark} style="{shade}">{count}{percent}</td>')
        rows.append(f"<tr><th>{grade} <small>({total})</small></th>{''.join(cells)}</tr>")
    return f'<table class="matrix"><caption>{escape(title)}</caption>{"".join(rows)}</table>'


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
    return f'<div class="warn"><h3>{escape(title)}</h3><ul>{"".join(f"<li>{escape(s)}</li>" for s in sentences)}</ul></div>'


def whole(title: str, body: Sequence[str]) -> str:
    """The document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
