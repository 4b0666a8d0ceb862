/** What was counted of each camera: gradability and grades over the weeks, and whether they are still what they were. */
import type { Camera, Drift } from "./api";
import { el } from "./dom";
import { table } from "./result";
import { day, percent, t } from "./strings";

export const WEEKS = 26;

export function driftParts({ counted, cameras }: Drift): HTMLElement[] {
  if (!counted) return [el("p", { class: "hint" }, t("drift.off"))];
  if (!cameras.length) return [el("p", { class: "hint" }, t("drift.none"))];
  return cameras.map(camera);
}

function camera(of: Camera): HTMLElement {
  const name = of.device ? t("drift.camera.device", { camera: of.camera, device: of.device }) : t("drift.camera", { camera: of.camera });
  const counted = t("drift.counted", { photographs: Number(of.photographs).toLocaleString("en") });
  return el("section", {}, el("h3", {}, name), table([[t("drift.photographs"), counted], ...of.references.map(reference)]), weeks(of));
}

function reference({ kind, alarm, evidence, photographs }: Camera["references"][number]): [string, HTMLElement | string] {
  const name = t(kind === "DRIFT_REFERENCE_KIND_OWN" ? "drift.own" : "drift.bundle");
  if (alarm) {
    const words = t("drift.differs", { signals: alarm.signals.join(", "), since: day(alarm.since) });
    return [name, el("span", { class: "warning flag" }, words)];
  }
  const [signal, share] = Object.entries(evidence).reduce((most, each) => (each[1] > most[1] ? each : most), ["", 0]);
  if (!signal) return [name, t("drift.same.nothing", { photographs })];
  return [name, t("drift.same", { signal, share: percent(share), photographs })];
}

function weeks(of: Camera): HTMLElement {
  const rows = of.weeks.map((week) => {
    const gradable = week.quality.find((each) => each.status === "QUALITY_STATUS_GRADABLE")?.photographs ?? 0;
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, week.week),
      el("td", { class: "number" }, String(week.photographs)),
      el("td", { class: "number" }, percent((week.photographs - gradable) / Math.max(week.photographs, 1))),
      el("td", { class: "grades" }, stack(week.icdr)),
      ...week.icdr.map((count) => el("td", { class: "number" }, String(count))),
    );
  });
  const grades = of.weeks[0]?.icdr.map((_, grade) => el("th", { scope: "col", class: "number" }, String(grade))) ?? [];
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, t("drift.week")),
    el("th", { scope: "col", class: "number" }, t("drift.photographs")),
    el("th", { scope: "col", class: "number" }, t("drift.ungradable")),
    el("td", { class: "grades" }),
    ...grades,
  );
  const kept = el("table", { class: "weeks" }, el("caption", {}, t("drift.weeks")), el("thead", {}, head), el("tbody", {}, ...rows));
  return el("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": t("drift.weeks") }, kept);
}

/** Shares of the grades as a bar; the numbers stand beside it. */
function stack(counts: number[]): HTMLElement {
  const parts = counts.map((count, grade) => {
    const part = el("span", { class: `grade-${grade}` });
    part.style.flexGrow = String(count);
    return part;
  });
  return el("div", { class: "stack", "aria-hidden": "true" }, ...parts);
}
