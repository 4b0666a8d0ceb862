/** The page that shows the server: its state live, the model's papers, the archive. */
import { call, type SelfTest, type Served, type Stats, type Status } from "./api";
import { el, show } from "./dom";
import { problem, table } from "./result";
import { bytes, duration, percent, t } from "./strings";

const EVERY_MS = 2000;
const POINTS = 60;

export function systemPage(): { node: HTMLElement; start: () => void; stop: () => void } {
  const state = el("div", { class: "card" });
  const model = el("div", { class: "card" });
  const store = el("div", { class: "card" });
  const waiting: number[] = [];
  let timer = 0;

  const live = async (): Promise<void> => {
    const began = performance.now();
    try {
      const status = await call<Status>("/v1/status");
      waiting.push(status.queuedStudies);
      if (waiting.length > POINTS) waiting.shift();
      show(state, el("h2", {}, t("system.state")), stateTable(status, performance.now() - began), chart(waiting));
      state.append(test);
    } catch (error) {
      show(state, el("h2", {}, t("system.state")), problem(error));
    }
  };
  const test = selfTest();
  const once = async (): Promise<void> => {
    const [served, stats] = await Promise.allSettled([call<Served>("/v1/model"), call<Stats>("/v1/stats")]);
    show(
      model,
      el("h2", {}, t("system.model")),
      ...(served.status === "fulfilled" ? modelParts(served.value) : [problem(served.reason)]),
    );
    show(store, el("h2", {}, t("system.store")), stats.status === "fulfilled" ? storeTable(stats.value) : problem(stats.reason));
  };
  return {
    node: el("section", { class: "page" }, el("h1", { tabIndex: -1 }, t("system.heading")), state, model, store),
    start: () => {
      void once();
      void live();
      timer = window.setInterval(() => void live(), EVERY_MS);
    },
    stop: () => window.clearInterval(timer),
  };
}

function serving(state: string): string {
  if (state === "SERVING_STATE_SERVING") return t("system.serving");
  return state === "SERVING_STATE_ABSENT" ? t("system.absent") : t("system.notserving");
}

function stateTable(status: Status, answerMs: number): HTMLElement {
  const test =
    status.selfTestPassed === undefined
      ? t("system.selftest.never")
      : t(status.selfTestPassed ? "system.selftest.passed" : "system.selftest.failed");
  const rows: [string, string][] = [
    [t("system.screening"), serving(status.screening) + (status.reason ? `: ${status.reason}` : "")],
    [t("system.archive"), serving(status.archive)],
    [t("system.uptime"), duration(status.uptimeS)],
    [
      t("system.workers"),
      t("system.workers.value", { ready: status.workersReady, wanted: status.workersWanted, lost: status.workersLost }),
    ],
    [
      t("system.queue"),
      t("system.queue.value", { studies: status.queuedStudies, bytes: bytes(Number(status.queuedBytes)) }),
    ],
    [t("system.latency"), `${answerMs.toFixed(0)} ms`],
    [t("system.selftest"), test],
  ];
  return table(rows);
}

function chart(values: number[]): HTMLElement {
  const canvas = el("canvas", {
    width: 600,
    height: 80,
    class: "chart",
    role: "img",
    "aria-label": t("system.queue.chart", { now: values.at(-1) ?? 0 }),
  });
  const pen = canvas.getContext("2d");
  const largest = Math.max(4, ...values);
  if (pen) {
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    pen.lineWidth = 2;
    pen.beginPath();
    values.forEach((value, i) => pen.lineTo((600 * i) / (POINTS - 1), 76 - (72 * value) / largest));
    pen.stroke();
  }
  return el("figure", {}, canvas, el("figcaption", {}, t("system.queue.chart", { now: values.at(-1) ?? 0 })));
}

function selfTest(): HTMLElement {
  const report = el("p", { "aria-live": "polite" });
  const button = el("button", { type: "button" }, t("system.selftest.go"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    show(report, t("system.selftest.busy"));
    try {
      const { studies, minCosine, maxAbsProbability, icdrFlips } = await call<SelfTest>("/v1/Admin/SelfTest", {});
      show(
        report,
        t("system.selftest.report", {
          studies,
          cosine: minCosine.toFixed(4),
          probability: maxAbsProbability.toFixed(4),
          flips: icdrFlips,
        }),
      );
    } catch (error) {
      show(report, problem(error));
    } finally {
      button.disabled = false;
    }
  });
  return el("div", {}, button, report);
}

function modelParts(served: Served): HTMLElement[] {
  const { model } = served;
  const rows: [string, string | HTMLElement][] = [
    [t("system.bundle"), el("code", {}, model.bundleSha256)],
    [t("system.space"), el("code", {}, model.spaceId.slice(0, 12))],
    [t("system.profile"), served.profile],
    [t("system.precision"), model.precision.replace("PRECISION_", "")],
    [t("system.version"), model.fovealVersion],
    [t("system.signature"), t(model.signatureVerified ? "served.signed" : "served.unsigned")],
    [t("system.heads"), served.trainedHeads.join(", ")],
    [t("system.subsets"), served.trainedSubsets.join(", ")],
  ];
  if (served.trainedOn) {
    const { datasets, studies } = served.trainedOn;
    rows.push([t("system.data"), t("system.data.value", { datasets: datasets.join(", "), studies })]);
  }
  for (const [subset, { points }] of Object.entries(served.operatingPoints)) {
    const each = points.map((point) => `${point.name} ${percent(point.threshold)}`).join(", ");
    rows.push([t("system.points"), `${subset}: ${each}`]);
  }
  for (const [subset, { heads }] of Object.entries(served.evidence)) {
    for (const [head, { status, kappa, studies }] of Object.entries(heads)) {
      const words = status.replace(/^.*_/, "").toLowerCase();
      rows.push([
        t("system.evidence"),
        t("system.evidence.value", { subset, head, status: words, kappa: kappa?.toFixed(2) ?? "–", studies }),
      ]);
    }
  }
  const parity = served.parity;
  if (parity) {
    rows.push([
      t("system.parity"),
      t("system.parity.value", {
        studies: Number(parity.studies),
        cosine: Number(parity.min_cosine).toFixed(4),
        probability: Number(parity.max_abs_probability).toFixed(4),
      }),
    ]);
  }
  const warnings = served.warnings.map((each) => el("li", {}, each));
  return [
    table(rows),
    ...(warnings.length ? [el("h3", {}, t("system.warnings")), el("ul", { class: "warning" }, ...warnings)] : []),
  ];
}

function storeTable(stats: Stats): HTMLElement {
  return table([
    [t("system.entries"), Number(stats.entries).toLocaleString("en")],
    [t("system.disk"), bytes(Number(stats.bytesOnDisk))],
    [t("system.database"), stats.serverVersion],
  ]);
}
