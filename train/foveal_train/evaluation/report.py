"""report.html: one self-contained page for a clinician and a reviewer. Reads the metrics; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.study.labels import ICDR
from foveal_train.evaluation import page
from foveal_train.evaluation.mistakes import Mistake, mistakes_section
from foveal_train.evaluation.report_grading import (
    calibration_section,
    grading_section,
    patient_section,
    referable_section,
    subgroup_section,
)
from foveal_train.evaluation.report_retrieval import retrieval_section
from foveal_train.evaluation.shown import judged
from foveal_train.training.curves import curves

if TYPE_CHECKING:
    from foveal_train.runs.run import RunInfo

_TERMS = ("referable DR", "kappa", "AUROC", "sensitivity", "specificity", "balanced accuracy", "ECE", "interval")
_SPLITS = {
    "test": "the run's own test split: patients that neither training nor validation saw",
    "validation": "the run's VALIDATION split, on which calibration was fitted",
    "other": "data named on the command line, without patients that training or validation saw",
}


def write_html(
    path: Path,
    metrics: Mapping[str, Any],
    info: RunInfo,
    history: Sequence[Mapping[str, Any]] = (),
    drawn: bytes | None = None,
    mistakes: Sequence[Mistake] = (),
) -> None:
    """Write the report; a reader sees the old file or the new one, never half.

    Args:
        path: of the page.
        metrics: what `evaluate_arrays` gave, with `split` and, where known, `run`, `data`, `seen` beside it.
        info: the run.
        history: a row an epoch, as in history.jsonl.
        drawn: what `curves` made of it; None draws it here.
        mistakes: photographs to show.

    Raises:
        OSError: the folder can't be written.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(html(metrics, info, history, drawn, mistakes), encoding="utf-8")
    part.replace(path)


def html(
    metrics: Mapping[str, Any],
    info: RunInfo,
    history: Sequence[Mapping[str, Any]] = (),
    drawn: bytes | None = None,
    mistakes: Sequence[Mistake] = (),
) -> str:
    """The page as text; arguments as for `write_html`."""
    sections = {
        "Referable DR": referable_section(metrics),
        "Patients": patient_section(metrics),
        **{f"{head.upper()} grade": grading_section(metrics, head) for head in metrics["heads"]},
        "Calibration": calibration_section(metrics),
        "Subgroups": subgroup_section(metrics),
        "Retrieval": retrieval_section(metrics),
        "Mistakes": mistakes_section(mistakes),
        "Training": _training(info, history, drawn),
        "Method": _method(metrics, info),
        "Terms": page.glossary(*_TERMS, *(("strict recall at K",) if metrics["retrieval"] else ())),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#s{i}">{escape(title)}</a>' for i, title in enumerate(shown))
    body = [_header(metrics, info), f"<nav>{links}</nav>", _cards(metrics)]
    body.append(page.warning_box("Read this before the figures", metrics["warnings"]))
    body += [f'<h2 id="s{i}">{escape(title)}</h2>{text}' for i, (title, text) in enumerate(shown.items())]
    return page.whole(f"foveal evaluation: {_name(metrics, info)}", body)


def _name(metrics: Mapping[str, Any], info: RunInfo) -> str:
    return str(metrics.get("run") or info.recipe.get("name") or info.model.profile)


def _header(metrics: Mapping[str, Any], info: RunInfo) -> str:
    data = ", ".join(metrics.get("data") or info.data)
    left = f"; {metrics['seen']} studies were left out, since training or validation saw them" if metrics.get("seen") else ""
    return (
        f"<h1>Evaluation of {escape(_name(metrics, info))}</h1>"
        f'<p class="lead">Profile {escape(info.model.profile)}, judged on {metrics["studies"]} studies of '
        f"{metrics['patients']} patients from <code>{escape(data)}</code>: "
        f"{escape(_SPLITS.get(metrics.get('split', ''), 'held-out studies'))}{escape(left)}. "
        "Every figure has a 95 % interval from resampling patients.</p>"
    )


def _cards(metrics: Mapping[str, Any]) -> str:
    head = ICDR if ICDR in metrics["heads"] else next(iter(metrics["heads"]), ICDR)
    chosen = judged(metrics, head)
    if chosen is None:
        return ""
    title, figures = chosen
    cards = [page.card(f"{head.upper()} quadratic kappa", figures["kappa"], share=False, under="always one grade: 0")]
    base = figures["majority"]
    cards.append(
        page.card(
            "Balanced accuracy",
            figures["balanced_accuracy"],
            share=True,
            under=f"always grade {base['grade']}: {100 * base['balanced_accuracy']:.1f} %",
        )
    )
    if "referable" in figures:
        referable = figures["referable"]
        cards.append(page.card("Referable DR, AUROC", referable["auroc"], share=False, under="a coin: 0.500"))
        if referable["operating_points"]:
            point = referable["operating_points"][0]
            cards.append(page.card("Sensitivity", point["sensitivity"], share=True, under="at the default threshold"))
            cards.append(page.card("Specificity", point["specificity"], share=True, under="at the default threshold"))
    lead = f'<p class="note">At a glance, shown the {escape(title)}, {figures["n"]} graded studies:</p>'
    return f'{lead}<div class="cards">{"".join(cards)}</div>'


def _training(info: RunInfo, history: Sequence[Mapping[str, Any]], drawn: bytes | None) -> str:
    if not history:
        return ""
    picture = page.image(
        curves([dict(row) for row in history], info.best_epoch) if drawn is None else drawn,
        alt="Losses, their weights and learning rates over epochs",
        caption="The dotted line marks the epoch whose weights were kept.",
        wide=True,
    )
    return (
        f"<p>{info.epochs} epochs over {info.train_studies} studies, validated on {info.validation_studies}; the weights "
        f"of epoch {info.best_epoch} were kept.</p>{picture}"
    )


def _method(metrics: Mapping[str, Any], info: RunInfo) -> str:
    left = "".join(f"<li><code>{escape(one['what'])}</code>: {escape(one['reason'])}.</li>" for one in metrics["left_out"])
    facts = {
        "space": info.space_id,
        "recipe": str(info.recipe.get("name", "")),
        "trained on": ", ".join(info.data),
        "trained heads": ", ".join(metrics["heads"]),
        "trained subsets": ", ".join(metrics["subsets"]),
        "bootstrap": f"{metrics['bootstrap']} replicates of patients, seed {metrics['seed']}",
        "made with": ", ".join(f"{name} {version}" for name, version in info.made_with.items()),
    }
    return (
        "<p>Intervals are 2.5 and 97.5 percentiles over replicates in which patients, with all their eyes and photographs, are "
        "drawn with replacement. Shares that are exactly 0 or 100 % get Clopper and Pearson's exact interval on the number of "
        "patients; ECE the reversed percentile interval. Fewer than ten patients get no interval. Kappa is Cohen's with "
        "quadratic weights. Balanced accuracy is the mean recall over the grades that occur.</p>"
        + page.table(["", ""], [[escape(k), f"<code>{escape(v)}</code>"] for k, v in facts.items() if v], words=2)
        + (f"<h3>Left out</h3><ul>{left}</ul>" if left else "")
    )
