"""The words of clinical tables: what a column may be called and what its cells may say. A table of data, no rules.

Words are compared folded (`fold`): without case, accents, punctuation and doubled blanks, so that `Não`, `NAO` and `nao` are
one word. docs/reference/synonyms.md is made from this module; a mapping file (`foveal_runtime.study.mapping`) adds to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from foveal_runtime.study.study import Eye, Sex


def fold(text: str) -> str:
    """A cell or header as it is compared: lower case, no accents, every run of other characters one blank."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", plain))


def fold_header(text: str) -> str:
    """A column's name as it is compared: folded, without blanks."""
    return fold(text).replace(" ", "")


SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "file": (
        "file", "filename", "filepath", "image", "imageid", "imagename", "imagefile", "imagefilename", "imagepath", "img",
        "imgid", "imgname", "path", "photo", "photograph", "idcode", "id", "arquivo", "nomearquivo", "nomedoarquivo",
        "imagem", "foto",
    ),
    "patient": (
        "patient", "patientid", "patientcode", "subject", "subjectid", "paciente", "idpaciente", "pacienteid", "prontuario",
    ),
    "icdr": (
        "icdr", "dricdr", "finalicdr", "icdrgrade", "grade", "drgrade", "drlevel", "retinopathygrade", "diagnosis", "level",
        "label", "adjudicateddrgrade", "grau", "grauicdr", "grauderetinopatia", "grauretinopatia", "graurd", "classificacao",
    ),
    "icdr_left": ("lefteyedrlevel", "lefteyedrgrade", "leftdrgrade", "graue", "grauoe", "grauolhoesquerdo"),
    "icdr_right": ("righteyedrlevel", "righteyedrgrade", "rightdrgrade", "graud", "grauod", "grauolhodireito"),
    "icdr_patient": ("patientdrlevel", "patientdrgrade"),
    "sdrg": ("sdrg", "drsdrg"),
    "macular_edema": (
        "macularedema", "edema", "dme", "finaledema", "riskofmacularedema", "adjudicateddme", "macularoedema", "edemamacular",
    ),
    "age": ("age", "ageyears", "patientage", "idade", "idadeanos", "idadepaciente"),
    "sex": ("sex", "gender", "patientsex", "sexo", "genero"),
    "eye": ("eye", "laterality", "exameye", "side", "olho", "lateralidade"),
    "duration": (
        "duration", "diabetesduration", "durationyears", "diabetesyears", "diabetestimey", "dmtime", "tempodiabetes",
        "tempodediabetes", "tempodm", "tempodedm",
    ),
    "insulin": ("insulin", "insuline", "insulina", "usainsulina", "usodeinsulina"),
    "diabetes": ("diabetes", "diabetic", "diabetico", "diabetica"),
    "note": (
        "note", "notes", "clinicalnote", "clinicalnotes", "report", "text", "description", "clinicaldescription", "comment",
        "comments", "remarks", "observacao", "observacoes", "obs", "laudo", "descricao", "comentario", "comentarios",
    ),
    "camera": ("camera", "device", "aparelho", "equipamento"),
    "site": ("site", "clinic", "clinica", "unidade"),
    "acquired": (
        "acquired", "acquisitiondate", "date", "examdate", "visitdate", "data", "dataexame", "datadoexame", "dataaquisicao",
    ),
}  # fmt: skip
"""Field to the spellings of its column, folded, without blanks. Of `file` the first spelling in the order of
`FILE_ORDER` is read where a table has several."""

FILE_ORDER = ("imagepath", "filepath", "path", "file", "filename", "imagefilename", "imagefile", "imagename", "image")
"""A table may name the photograph twice (DeepDRiD: image_id and image_path): a path tells more than a name, a name more
than an id."""

MISSING = frozenset({
    "", "na", "n a", "nan", "none", "null", "missing", "unknown", "not available", "not known", "sem informacao",
    "nao informado", "nao informada", "nd", "ni", "desconhecido", "ignorado",
})  # fmt: skip
"""Words for an empty cell; a cell of punctuation alone (`-`, `?`, `.`) is one too."""

NOTE_MISSING = MISSING - {"ni", "nd"}
"""Of notes; `unknown` and the like are no text that a model should read."""

YES_NO: Mapping[str, bool] = {
    "yes": True, "y": True, "true": True, "1": True, "1 0": True, "sim": True, "s": True,
    "no": False, "n": False, "false": False, "0": False, "0 0": False, "nao": False,
}  # fmt: skip
"""Words for a flag, English and Portuguese."""

EYES: Mapping[str, Eye] = {
    "right": Eye.RIGHT, "r": Eye.RIGHT, "od": Eye.RIGHT, "o d": Eye.RIGHT, "re": Eye.RIGHT, "d": Eye.RIGHT,
    "right eye": Eye.RIGHT, "direito": Eye.RIGHT, "direita": Eye.RIGHT, "olho direito": Eye.RIGHT, "derecho": Eye.RIGHT,
    "ojo derecho": Eye.RIGHT, "dexter": Eye.RIGHT,
    "left": Eye.LEFT, "l": Eye.LEFT, "os": Eye.LEFT, "o s": Eye.LEFT, "le": Eye.LEFT, "e": Eye.LEFT, "oe": Eye.LEFT,
    "o e": Eye.LEFT, "left eye": Eye.LEFT, "esquerdo": Eye.LEFT, "esquerda": Eye.LEFT, "olho esquerdo": Eye.LEFT,
    "oi": Eye.LEFT, "izquierdo": Eye.LEFT, "ojo izquierdo": Eye.LEFT, "sinister": Eye.LEFT,
}  # fmt: skip
"""Laterality: OD / OS, Portuguese D / E and OD / OE, Spanish OD / OI. Numbers mean nothing by themselves."""

SEXES: Mapping[str, Sex] = {
    "m": Sex.MALE, "male": Sex.MALE, "man": Sex.MALE, "masculino": Sex.MALE, "masc": Sex.MALE, "homem": Sex.MALE,
    "hombre": Sex.MALE,
    "f": Sex.FEMALE, "female": Sex.FEMALE, "woman": Sex.FEMALE, "feminino": Sex.FEMALE, "femenino": Sex.FEMALE,
    "fem": Sex.FEMALE, "mulher": Sex.FEMALE, "mujer": Sex.FEMALE,
}  # fmt: skip
"""Numbers mean nothing: BRSET writes 1 for male, mBRSET too, but 0 for female, others the reverse. `H` is not here: where
it stands for homem, M stands for mulher."""

_STAGE = ("npdr", "dr", "non proliferative dr", "nonproliferative dr", "non proliferative diabetic retinopathy",
          "nonproliferative diabetic retinopathy", "diabetic retinopathy", "non proliferative retinopathy",
          "nonproliferative retinopathy")  # fmt: skip
_ESTADIO = ("rdnp", "rd", "retinopatia", "retinopatia diabetica", "retinopatia diabetica nao proliferativa")


def _stages(english: str, portuguese: tuple[str, ...], grade: int) -> dict[str, int]:
    words = {english, *(f"{english} {stage}" for stage in _STAGE), *(f"{stage} {english}" for stage in ("npdr", "dr"))}
    words |= {*portuguese, *(f"{stage} {word}" for stage in _ESTADIO for word in portuguese)}
    return dict.fromkeys(sorted(words), grade)


ICDR: Mapping[str, int] = {
    **dict.fromkeys((
        "no dr", "nodr", "normal", "no retinopathy", "no apparent retinopathy", "no apparent dr", "no diabetic retinopathy",
        "no apparent diabetic retinopathy", "absent", "without dr", "sem rd", "sem retinopatia", "sem retinopatia diabetica",
        "ausente", "sem retinopatia aparente",
    ), 0),
    **_stages("mild", ("leve",), 1),
    **_stages("moderate", ("moderada", "moderado"), 2),
    **_stages("severe", ("grave", "severa", "severo"), 3),
    **dict.fromkeys((
        "pdr", "proliferative", "proliferative dr", "proliferate dr", "proliferative retinopathy",
        "proliferative diabetic retinopathy", "rdp", "rd proliferativa", "proliferativa", "retinopatia proliferativa",
        "retinopatia diabetica proliferativa",
    ), 4),
}  # fmt: skip
"""Words for grades of the International Clinical Diabetic Retinopathy scale (Wilkinson et al. 2003)."""

SDRG: Mapping[str, int] = {f"r{level}": level for level in range(5)}
"""Scottish Diabetic Retinopathy Grading scheme. English screening calls other things R1 to R3, and neither scale is ICDR:
in an ICDR column such a level is refused until a mapping file says which grade it stands for."""

EDEMA: Mapping[str, int] = {
    "yes": 1, "present": 1, "sim": 1, "presente": 1, "true": 1,
    "no": 0, "absent": 0, "nao": 0, "ausente": 0, "false": 0,
}  # fmt: skip
"""Macular edema as a flag."""

MONTHS: Mapping[str, int] = {
    name: number
    for number, names in enumerate((
        "jan january janeiro", "feb february fev fevereiro", "mar march marco", "apr april abr abril", "may mai maio",
        "jun june junho", "jul july julho", "aug august ago agosto", "sep sept september set setembro",
        "oct october out outubro", "nov november novembro", "dec december dez dezembro",
    ), start=1)
    for name in names.split()
}  # fmt: skip
"""Names of months, English and Portuguese."""

GRADE_HINTS = frozenset({
    "grade", "grades", "grading", "level", "severity", "stage", "staging", "class", "dr", "icdr", "sdrg", "retinopathy",
    "diagnosis", "label", "grau", "nivel", "gravidade", "estagio", "classificacao", "diagnostico", "retinopatia", "rd",
})  # fmt: skip
"""Words of a header that make a column look like a grade."""

NO_GRADE_HINTS = frozenset({
    "quality", "qualidade", "focus", "clarity", "artifact", "artifacts", "illumination", "field", "gradable", "camera",
    "education", "educational", "date", "data",
})  # fmt: skip
"""Words of a header that make it another thing."""
