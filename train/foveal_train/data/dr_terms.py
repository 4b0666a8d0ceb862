"""The terms by which a sentence names diabetic retinopathy, its grade or diabetic macular disease, English and Portuguese.

Sentences are compared folded (`foveal_runtime.study.synonyms.fold`): no case, no accents, one blank for every run of other
characters. A table of data and the few rules for words that also mean other things; what can't be told counts as naming it.
"""

from __future__ import annotations

import re

from foveal_runtime.study.synonyms import fold

ABBREVIATIONS = (
    "dr", "npdr", "pdr", "ppdr", "bdr", "nvdr", "hrpdr", "rd", "rdnp", "rdp", "rdpp", "rdnpl", "rdnpm", "rdnpg",
    "dme", "dmo", "csme", "csmo", "csdme", "cidme", "cime", "nci dme", "emd", "edm", "emcs", "nvd", "nve", "nvde", "hrc",
    "icdr", "sdrg", "etdrs",
)  # fmt: skip
"""Whole words. `rd` is retinopatia diabética as well as retinal detachment: it can't be told, so it counts."""

STEMS = ("proliferat", "preproliferat", "nonproliferat", "vitreoretinopat", "microangiopat", "neovasc")
"""Beginnings of words that name a stage or the disease by themselves."""

OTHER_RETINOPATHIES = (
    "hypertensive", "hipertensiva", "prematurity", "prematuridade", "serous", "serosa", "solar", "radiation", "actinica",
    "sickle", "falciforme", "purtscher", "valsalva", "hydroxychloroquine", "hidroxicloroquina", "cloroquina",
)  # fmt: skip
"""A retinopathy of one of these within three words is another disease."""

OTHER_MACULOPATHIES = (
    "age", "idade", "myopic", "miopica", "senile", "senil", "hydroxychloroquine", "hidroxicloroquina", "cloroquina", "solar",
)  # fmt: skip
"""A maculopathy of one of these within three words is another disease."""

PEOPLE_BEFORE = frozenset({
    "", "known", "is", "a", "the", "non", "not", "nao", "dependent", "dependente", "controlled", "elderly", "young", "female",
    "male", "paciente", "pcte", "pac", "mulher", "homem", "senhora", "senhor", "e", "sou", "sabidamente", "patient",
    "longstanding", "standing",
})  # fmt: skip
PEOPLE_AFTER = frozenset({
    "", "for", "since", "patient", "patients", "man", "woman", "male", "female", "person", "people", "on", "under", "ha",
    "desde", "em", "type", "tipo", "mellitus", "diet", "clinic", "clinica", "medication", "and", "who", "years",
})  # fmt: skip
"""Words around `diabetic` where it speaks of the person; between any others it speaks of the eye."""

SEVERITY = ("mild", "moderate", "severe", "leve", "leves", "moderada", "moderado", "grave", "severa", "severo", "background")
_AROUND = frozenset({
    *SEVERITY, "od", "os", "ou", "oe", "ao", "oi", "re", "le", "right", "left", "eye", "eyes", "both", "bilateral", "in", "and",
    "with", "the", "to", "very", "changes", "disease", "stage", "olho", "olhos", "direito", "esquerdo", "ambos", "em", "e",
    "alteracoes", "doenca", "estagio", "grade", "level", "grau", "no", "at", "now", "today", "status", "quadro",
})  # fmt: skip

_WORDS = re.compile(rf"\b(?:{'|'.join(ABBREVIATIONS)})\b|\b(?:{'|'.join(STEMS)})|\b(?:non|nao|pre) ?proliferat")
_RETINOPATHY = re.compile(r"\bretinop(?:\w*)")
_MACULOPATHY = re.compile(r"\bmaculopat\w*")
_DIABETIC = re.compile(r"\bdiabet(?:ic|ico|ica|icos|icas|ics)\b")
_BY_DIABETES = re.compile(
    r"\b(?:due|secondary|related|associad\w*|secundari\w*|devid\w*|caused|causad\w*|relacionad\w*|por|pel[ao])"
    r"(?: (?:to|by|ao?|pel[ao]|com|do|da))* diabet|\bdiabetes (?:related|associated|induced|eye|macul\w*|ocular)"
)
_GRADE = re.compile(
    r"\b(?:grade|level|stage|grau|nivel|estagio|estadio|classe|class) ?[0-4ivx]+\b"
    r"|\br[0-4] ?[a-z]?(?: ?m[0-3][a-z]?)?\b|\bm[01] ?r[0-4]\b"
)
_DOTTED = re.compile(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z]\b)?")
_TITLE = re.compile(
    r"(?:^|\b(?:[Bb]y|[Ww]ith|[Tt]o|[Ff]rom|[Ss]ee|[Pp]or|[Cc]om|[Pp]el[oa]|d[aeo]|[Aa]o)\s+)(Dra?\.?)\s+(?=[A-ZÀ-Ý][a-zà-ÿ]+)"
)


def names_dr(sentence: str) -> bool:
    """True where a sentence names diabetic retinopathy, a stage or grade of it, or diabetic macular disease, or may do so."""
    plain = _TITLE.sub(lambda match: match[0].replace(match[1], "Doctor"), sentence)
    plain = _DOTTED.sub(lambda match: match[0].replace(".", ""), plain)
    # N-PDR and NPDR, non-proliferative and nonproliferative are one word each.
    text = fold(re.sub(r"\b([A-Za-z])-(?=[A-Za-z]{2,4}\b)", r"\1", plain))
    words = text.split()
    return bool(
        _WORDS.search(text)
        or _BY_DIABETES.search(text)
        or _GRADE.search(text)
        or _unlike(_RETINOPATHY, text, OTHER_RETINOPATHIES)
        or _unlike(_MACULOPATHY, text, OTHER_MACULOPATHIES)
        or any(_of_the_eye(text, match) for match in _DIABETIC.finditer(text))
        or (any(word in SEVERITY for word in words) and all(word in _AROUND or word.isdigit() for word in words))
    )


def _unlike(pattern: re.Pattern[str], text: str, others: tuple[str, ...]) -> bool:
    """True for an occurrence that no word nearby makes another disease."""
    for match in pattern.finditer(text):
        near = [*text[: match.start()].split()[-3:], *text[match.end() :].split()[:3]]
        if not any(word in others for word in near):
            return True
    return False


def _of_the_eye(text: str, match: re.Match[str]) -> bool:
    before = [*[""], *text[: match.start()].split()][-1]
    after = [*text[match.end() :].split(), ""][0]
    return not ((before in PEOPLE_BEFORE or before.isdigit()) and (after in PEOPLE_AFTER or after.isdigit()))
