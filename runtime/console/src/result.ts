/** One answer as a card. What is no answer says so first, in words and colour, and never shows a grade. */
import { call, type EvidenceMap, type Grade, type Hit, Problem, type Result, type Served } from "./api";
import { el, labelled, show } from "./dom";
import { Picture } from "./picture";
import { percent, t } from "./strings";
import { eyeWords, gradeNumber, gradeWords, referralWords } from "./words";

export interface Asked {
  name: string;
  eye: string;
  picture: Picture;
  /** The form that asked for this photograph alone; made anew each time, since a form is read once. */
  form: () => FormData;
}

const NEAR_ZERO = 0.3;

export function resultCard(asked: Asked, result: Result, served: Served | null, archived: boolean): HTMLElement {
  const heading = asked.eye ? `${asked.name} (${eyeWords(asked.eye)})` : asked.name;
  const card = el("article", { class: "card result" }, el("h2", {}, heading), el("div", { class: "picture" }, asked.picture.node));
  const words = el("div", { class: "words" });
  card.append(words);
  if (!result.grade) {
    words.append(banner(t("verdict.error"), "withheld", result.error?.message ?? ""));
    return card;
  }
  const grade = result.grade;
  words.append(verdict(grade));
  if (grade.novelty?.unlikeTraining) words.append(el("p", { class: "warning" }, t("result.unlike")));
  words.append(facts(grade));
  if (grade.graded) {
    words.append(...grade.graded.heads.map((head) => bars(head.head, head.classes)));
    if (served?.evidenceMaps) words.append(evidence(asked));
  }
  if (archived && grade.quality?.status === "QUALITY_STATUS_GRADABLE") words.append(similar(asked));
  return card;
}

export function banner(words: string, kind: "refer" | "not" | "withheld", more = ""): HTMLElement {
  return el("p", { class: `verdict ${kind}` }, el("strong", {}, words), more ? ` ${more}` : "");
}

function verdict(grade: Grade): HTMLElement {
  if (grade.graded) {
    if (grade.graded.referral === "REFERRAL_UNSPECIFIED") return banner(t("verdict.nogrades"), "withheld");
    return banner(...referralWords(grade.graded.referral));
  }
  if (grade.ungradable) return banner(t("verdict.ungradable"), "withheld", grade.ungradable.message);
  if (grade.abstained) return banner(t("verdict.abstained"), "withheld", grade.abstained.message);
  return banner(t("verdict.unread"), "withheld");
}

function facts(grade: Grade): HTMLElement {
  const rows: [string, string][] = [];
  if (grade.quality) rows.push([t("result.quality"), grade.quality.message]);
  const { graded } = grade;
  if (graded && gradeNumber(graded.icdr) >= 0) rows.push([t("result.grade"), gradeWords(graded.icdr)]);
  const sdrg = graded?.heads.find((head) => head.head === "sdrg");
  if (sdrg) rows.push([t("result.sdrg"), sdrg.likeliest]);
  if (graded?.icdrSet?.grades.length) {
    const grades = graded.icdrSet.grades.map(gradeNumber).join(", ");
    rows.push([t("result.set"), t("result.set.coverage", { grades, coverage: percent(graded.icdrSet.coverage) })]);
  }
  if (graded?.referralBasis) {
    const { probability, operatingPoint: point, byGradeAlone } = graded.referralBasis;
    const parts = [
      t("result.probability", {
        probability: percent(probability),
        threshold: percent(point.threshold),
        point: point.name,
      }),
    ];
    if (byGradeAlone) parts.push(t("result.bygrade"));
    if (point.studies && point.sensitivity !== undefined && point.specificity !== undefined) {
      const { sensitivity, specificity, studies } = point;
      parts.push(
        t("result.point", { studies, sensitivity: percent(sensitivity), specificity: percent(specificity) }),
      );
    }
    rows.push([t("result.referral"), parts.join("; ")]);
  }
  if (grade.imputedFields.length) rows.push([t("result.imputed"), grade.imputedFields.join(", ")]);
  if (grade.truncatedFields.length) rows.push([t("result.truncated"), grade.truncatedFields.join(", ")]);
  if (grade.filledFields.length) rows.push([t("result.filled"), grade.filledFields.map((each) => each.field).join(", ")]);
  if (grade.unverifiedHeads.length) {
    rows.push([t("result.grade"), t("result.unverified", { heads: grade.unverifiedHeads.join(", ") })]);
  }
  return table(rows);
}

export function table(rows: [string, string | HTMLElement][]): HTMLElement {
  const cells = rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return el("dl", {}, ...cells);
}

function bars(head: string, classes: { name: string; probability: number }[]): HTMLElement {
  const rows = classes.map(({ name, probability }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", { class: "bar" }, el("meter", { min: 0, max: 1, value: probability, "aria-label": name })),
      el("td", { class: "number" }, percent(probability)),
    ),
  );
  return el("table", { class: "bars" }, el("caption", {}, `${t("result.probabilities")}, ${head.toUpperCase()}`), ...rows);
}

function evidence(asked: Asked): HTMLElement {
  const place = el("div", { class: "evidence" });
  const button = el("button", { type: "button" }, t("map.show"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = t("map.busy");
    try {
      const form = asked.form();
      form.append("evidence_map", "true");
      const { results } = await call<{ results: Result[] }>("/v1/grade", form);
      const found = results[0]?.grade?.evidenceMap;
      if (!found) throw new Problem(results[0]?.error?.message ?? t("verdict.error"), "");
      show(place, ...slider(asked.picture, found));
    } catch (error) {
      show(place, problem(error), button);
      button.disabled = false;
      button.textContent = t("map.show");
    }
  });
  place.append(button);
  return place;
}

function slider(picture: Picture, found: EvidenceMap): HTMLElement[] {
  const range = el("input", { type: "range", min: "0", max: "100", value: "60" });
  range.addEventListener("input", () => (picture.opacity = Number(range.value) / 100));
  picture.overlay(found);
  picture.opacity = 0.6;
  const weak = found.largestLogOdds < NEAR_ZERO;
  return [
    labelled(t("map.slider"), range),
    el("p", { class: "hint" }, t("map.explain")),
    ...(weak ? [el("p", { class: "warning" }, t("map.weak"))] : []),
  ];
}

function similar(asked: Asked): HTMLElement {
  const place = el("section", { class: "similar" }, el("h3", {}, t("similar.heading")));
  const form = asked.form();
  form.append("k", "5");
  call<{ hits?: Hit[] }>("/v1/search", form)
    .then(({ hits = [] }) => place.append(hits.length ? hitTable(hits) : el("p", {}, t("similar.none"))))
    .catch((error: unknown) => place.append(problem(error)));
  return place;
}

/** An entry's id; of one that is a photograph's hash, enough to tell it apart. */
export function entryName(id: string): HTMLElement {
  return /^[0-9a-f]{64}$/.test(id) ? el("code", { title: id }, id.slice(0, 12)) : el("span", {}, id);
}

export function hitTable(hits: Hit[]): HTMLElement {
  const names = [t("search.column.id"), t("search.column.grade"), t("search.column.distance")];
  const rows = hits.map(({ entry: { facts: each }, score }) =>
    el("tr", {}, el("th", { scope: "row" }, entryName(each.id)), el("td", {}, gradeWords(each.icdr)), el("td", {}, (1 - score).toFixed(3))),
  );
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
  return el("table", { class: "hits" }, el("thead", {}, head), el("tbody", {}, ...rows));
}

export function problem(error: unknown): HTMLElement {
  return el("p", { class: "problem", role: "alert" }, error instanceof Error ? error.message : String(error));
}
