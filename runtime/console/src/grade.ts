/** The page that grades. */
import { call, type Exam, type Result, type Served } from "./api";
import { el, labelled, show } from "./dom";
import { decoded, Picture } from "./picture";
import { type Asked, banner, problem, resultCard } from "./result";
import { t } from "./strings";
import { eyeWords, gradeWords, referralWords } from "./words";

const TYPES = "image/jpeg,image/png,image/tiff,image/webp,application/dicom,.dcm,.dicom,.tif,.tiff";

interface Chosen {
  file: File;
  eye: HTMLSelectElement;
  row: HTMLElement;
}

export function gradePage(known: () => { served: Served | null; archived: boolean }): HTMLElement {
  const chosen: Chosen[] = [];
  const list = el("ul", { class: "chosen" });
  const input = el("input", { type: "file", accept: TYPES, multiple: true, id: "photographs" });
  const drop = el("div", { class: "drop" }, el("label", { htmlFor: "photographs" }, t("grade.drop")), input);
  const patient = new Patient();
  const results = el("div", { class: "results", "aria-live": "polite" });
  const go = el("button", { type: "submit", class: "primary" }, t("grade.go"));

  const add = (files: Iterable<File>): void => {
    for (const file of files) {
      const each = chosenRow(file, () => {
        chosen.splice(chosen.indexOf(each), 1);
        each.row.remove();
      });
      chosen.push(each);
      list.append(each.row);
    }
  };
  input.addEventListener("change", () => {
    add(input.files ?? []);
    input.value = "";
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer?.files ?? []);
  });

  const form = el(
    "form",
    { class: "ask", novalidate: true },
    drop,
    el("p", { class: "hint" }, t("grade.formats")),
    list,
    patient.node,
    go,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!chosen.length) return show(results, problem(new Error(t("grade.none"))));
    if (chosen.length > 1 && chosen.some((each) => !each.eye.value)) {
      return show(results, problem(new Error(t("grade.eyes"))));
    }
    go.disabled = true;
    show(results, el("p", { class: "busy" }, t("grade.busy")));
    try {
      show(results, ...(await answered([...chosen], patient, known())));
    } catch (error) {
      show(results, problem(error));
    } finally {
      go.disabled = false;
    }
  });
  return el(
    "section",
    { class: "page" },
    el("h1", { tabIndex: -1 }, t("grade.heading")),
    el("p", { class: "intro" }, t("grade.intro")),
    form,
    results,
  );
}

function chosenRow(file: File, remove: () => void): Chosen {
  const eye = el("select", {}, ...(["", "right", "left"] as const).map((value) => option(value, eyeName(value))));
  const away = el("button", { type: "button", class: "quiet", "aria-label": t("grade.remove", { name: file.name }) }, "×");
  away.addEventListener("click", remove);
  const row = el("li", {}, el("span", { class: "name" }, file.name), labelled(t("grade.eye"), eye, "inline"), away);
  return { file, eye, row };
}

const eyeName = (value: string): string =>
  value === "right" ? t("eye.right") : value === "left" ? t("eye.left") : t("eye.unknown");

const option = (value: string, text: string): HTMLElement => el("option", { value }, text);

/** Facts that every photograph of the request shares. */
class Patient {
  private readonly age = el("input", { type: "number", min: "0", max: "120", inputMode: "numeric" });
  private readonly years = el("input", { type: "number", min: "0", max: "100", inputMode: "numeric" });
  private readonly sex = el(
    "select",
    {},
    option("", t("sex.unknown")),
    option("SEX_FEMALE", t("sex.female")),
    option("SEX_MALE", t("sex.male")),
  );
  private readonly insulin = el("select", {}, option("", t("unknown")), option("true", t("yes")), option("false", t("no")));
  private readonly note = el("textarea", { rows: 3 });
  readonly node = el(
    "details",
    {},
    el("summary", {}, t("grade.patient")),
    el(
      "div",
      { class: "grid" },
      labelled(t("grade.age"), this.age),
      labelled(t("grade.sex"), this.sex),
      labelled(t("grade.diabetes"), this.years),
      labelled(t("grade.insulin"), this.insulin),
    ),
    labelled(t("grade.note"), this.note),
  );

  /** One study as JSON, without its photograph. */
  study(): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    if (this.age.value) record.ageYears = Number(this.age.value);
    if (this.sex.value) record.sex = this.sex.value;
    if (this.years.value) record.diabetesYears = Number(this.years.value);
    if (this.insulin.value) record.insulin = this.insulin.value === "true";
    const study: Record<string, unknown> = {};
    if (this.note.value.trim()) study.note = this.note.value;
    if (Object.keys(record).length) study.record = record;
    return study;
  }
}

async function answered(
  chosen: Chosen[],
  patient: Patient,
  { served, archived }: { served: Served | null; archived: boolean },
): Promise<HTMLElement[]> {
  const visit = chosen.length > 1;
  const study = patient.study();
  const eyes = chosen.map(({ eye }) => (eye.value ? `EYE_${eye.value.toUpperCase()}` : ""));
  const form = new FormData();
  const studies = visit ? eyes.map((eye) => ({ eye, study })) : [withEye(study, eyes[0] ?? "")];
  form.append("request", new Blob([JSON.stringify({ studies })], { type: "application/json" }));
  for (const { file } of chosen) form.append("image", file);
  const [answer, ...pictures] = await Promise.all([
    call<Exam & { results: Result[] }>(visit ? "/v1/exam" : "/v1/grade", form),
    ...chosen.map(({ file }) => decoded(file)),
  ]);
  const cards = answer.results.map((result, i) => {
    const { file } = chosen[i] as Chosen;
    const alone = (): FormData => {
      const one = new FormData();
      one.append("image", file);
      return one;
    };
    const asked: Asked = {
      name: file.name,
      eye: eyes[i] ?? "",
      picture: new Picture(pictures[i] ?? null, file.name),
      form: alone,
    };
    return resultCard(asked, result, served, archived);
  });
  const print = el("button", { type: "button", class: "quiet print" }, t("grade.print"));
  print.addEventListener("click", () => window.print());
  return [...(visit ? [visitCard(answer)] : []), ...cards, print];
}

/** A study with an eye alone would be one with a record: it is said only where something else is known. */
function withEye(study: Record<string, unknown>, eye: string): Record<string, unknown> {
  if (!eye || !study.record) return study;
  return { ...study, record: { ...(study.record as object), eye } };
}

function visitCard(exam: Exam): HTMLElement {
  const [words, kind] = referralWords(exam.patient.referral);
  const eyes = exam.eyes.map((each) => {
    const values = { eye: eyeWords(each.eye), grade: gradeWords(each.icdr), referral: referralWords(each.referral)[0] };
    return el("li", {}, t(each.gradable ? "visit.eye" : "visit.eye.ungraded", values));
  });
  return el(
    "article",
    { class: "card visit" },
    el("h2", {}, t("verdict.visit")),
    banner(words, kind),
    exam.patient.complete ? null : el("p", { class: "warning" }, t("visit.incomplete")),
    el("ul", {}, ...eyes),
  );
}
