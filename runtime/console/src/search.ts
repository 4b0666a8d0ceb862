/** The page that searches the archive. Pictures come from a folder that the reader chooses, and stay in this tab. */
import { call, type Hit } from "./api";
import { el, labelled, show } from "./dom";
import { entryName, problem } from "./result";
import { t } from "./strings";
import { eyeWords, gradeWords } from "./words";

type By = "text" | "photograph" | "id";
const GRADES = ["NO_RETINOPATHY", "MILD", "MODERATE", "SEVERE", "PROLIFERATIVE"];
const RESULTS = 24;

export function searchPage(): HTMLElement {
  const files = new Map<string, File>();
  let hits: Hit[] = [];
  const urls: string[] = [];
  const found = el("div", { class: "results", "aria-live": "polite" });
  const words = el("input", { type: "text", autocomplete: "off" });
  const photograph = el("input", { type: "file", accept: "image/*,.dcm" });
  const id = el("input", { type: "text", autocomplete: "off" });
  const controls: Record<By, HTMLElement> = {
    text: labelled(t("search.words"), words),
    photograph: labelled(t("search.file"), photograph),
    id: labelled(t("search.entry"), id),
  };
  let by: By = "text";
  const radios = (["text", "photograph", "id"] as const).map((each) => {
    const radio = el("input", { type: "radio", name: "by", checked: each === by, id: `by-${each}` });
    radio.addEventListener("change", () => {
      by = each;
      for (const [name, control] of Object.entries(controls)) control.hidden = name !== by;
    });
    return el("span", { class: "radio" }, radio, el("label", { htmlFor: radio.id }, t(`search.${each}`)));
  });
  controls.photograph.hidden = controls.id.hidden = true;
  const eye = el(
    "select",
    {},
    el("option", { value: "" }, t("search.any")),
    el("option", { value: "EYE_RIGHT" }, t("eye.right")),
    el("option", { value: "EYE_LEFT" }, t("eye.left")),
  );
  const grade = el(
    "select",
    {},
    el("option", { value: "" }, t("search.any")),
    ...GRADES.map((name, i) => el("option", { value: `ICDR_GRADE_${name}` }, String(i))),
  );
  const from = el("input", { type: "date" });
  const until = el("input", { type: "date" });
  const folder = el("input", { type: "file", webkitdirectory: true, multiple: true });

  const filter = (): object | undefined => {
    const parts: object[] = [];
    if (eye.value) parts.push({ eye: eye.value });
    if (grade.value) parts.push({ icdr: { atLeast: grade.value } });
    if (from.value || until.value) {
      parts.push({ acquired: { ...(from.value && { from: from.value }), ...(until.value && { until: until.value }) } });
    }
    return parts.length ? { all: { filters: parts } } : undefined;
  };
  const sheet = (): void => {
    for (const url of urls.splice(0)) URL.revokeObjectURL(url);
    if (!hits.length) return show(found, el("p", {}, t("search.empty")));
    const cards = hits.map((hit) => card(hit, files, urls));
    show(found, el("p", {}, t("search.found", { n: hits.length })), el("ol", { class: "sheet" }, ...cards));
  };
  folder.addEventListener("change", () => {
    files.clear();
    for (const file of folder.files ?? []) {
      files.set(file.webkitRelativePath, file);
      files.set(file.name, file);
    }
    if (hits.length) sheet();
  });
  const go = el("button", { type: "submit", class: "primary" }, t("search.go"));
  const form = el(
    "form",
    { class: "ask", novalidate: true },
    el("fieldset", {}, el("legend", {}, t("search.by")), ...radios),
    controls.text,
    controls.photograph,
    controls.id,
    el(
      "details",
      {},
      el("summary", {}, t("search.filters")),
      el(
        "div",
        { class: "grid" },
        labelled(t("search.eye"), eye),
        labelled(t("search.grade"), grade),
        labelled(t("search.from"), from),
        labelled(t("search.to"), until),
      ),
    ),
    go,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    show(found, el("p", { class: "busy" }, t("search.busy")));
    try {
      const rest = { k: RESULTS, filter: filter() };
      let body: FormData | object = { ...rest, id: id.value };
      if (by === "text") body = { ...rest, study: { note: words.value } };
      const file = photograph.files?.[0];
      if (by === "photograph" && file) {
        body = new FormData();
        (body as FormData).append("request", new Blob([JSON.stringify(rest)], { type: "application/json" }));
        (body as FormData).append("image", file);
      }
      hits = (await call<{ hits?: Hit[] }>("/v1/search", body)).hits ?? [];
      sheet();
    } catch (error) {
      show(found, problem(error));
    } finally {
      go.disabled = false;
    }
  });
  return el(
    "section",
    { class: "page" },
    el("h1", { tabIndex: -1 }, t("search.heading")),
    form,
    labelled(t("search.folder"), folder),
    el("p", { class: "hint" }, t("search.folder.hint")),
    found,
  );
}

function card(hit: Hit, files: Map<string, File>, urls: string[]): HTMLElement {
  const facts = hit.entry.facts;
  const file = files.get(facts.source) ?? files.get(facts.source.split(/[\\/]/).pop() ?? "");
  let picture: HTMLElement = el("div", { class: "nopicture" }, t("search.nopicture"));
  if (file) {
    const url = URL.createObjectURL(file);
    urls.push(url);
    picture = el("img", { src: url, alt: t("grade.photograph", { name: facts.id }), loading: "lazy" });
  }
  return el(
    "li",
    { class: "card hit" },
    picture,
    el("strong", {}, entryName(facts.id)),
    el("span", {}, `${t("search.column.grade")}: ${gradeWords(facts.icdr)}`),
    el("span", {}, `${t("search.eye")}: ${eyeWords(facts.eye)}${facts.acquired ? `, ${facts.acquired}` : ""}`),
    el("span", {}, `${t("search.column.distance")}: ${(1 - hit.score).toFixed(3)}`),
  );
}
