/** The page that shows the server: its state live, the model's papers, the archive. */
import { call, type Drift, type SelfTest, type Served, type Stats, type Status } from "./api";
import { el, show } from "./dom";
import { driftParts, WEEKS } from "./drift";
import { problem, table } from "./result";
import { bytes, day, duration, type Key, moment, percent, t } from "./strings";

const EVERY_MS = 2000;
const POINTS = 60;
const SOON_DAYS = 30;
const EVENTS: Record<string, Key> = {
  BUNDLE_EVENT_SERVING: "event.serving",
  BUNDLE_EVENT_UPGRADED: "event.upgraded",
  BUNDLE_EVENT_ROLLED_BACK: "event.rolledback",
  BUNDLE_EVENT_REFUSED: "event.refused",
};

const REPLICAS: Record<string, Key> = {
  REPLICA_STATE_SERVING: "system.replica.serving",
  REPLICA_STATE_BEHIND: "system.replica.behind",
  REPLICA_STATE_AWAY: "system.replica.away",
  REPLICA_STATE_UNFIT: "system.replica.unfit",
};

export function systemPage(): { node: HTMLElement; start: () => void; stop: () => void } {
  const state = el("div", { class: "card" });
  const versions = el("div", { class: "card" });
  const drift = el("div", { class: "card" });
  const model = el("div", { class: "card" });
  const store = el("div", { class: "card" });
  const waiting: number[] = [];
  const took: number[] = [];
  let timer = 0;

  const live = async (): Promise<void> => {
    const began = performance.now();
    try {
      const status = await call<Status>("/v1/status");
      keep(waiting, status.queuedStudies);
      keep(took, status.latency?.p99Ms ?? 0);
      show(
        state,
        el("h2", {}, t("system.state")),
        stateTable(status, performance.now() - began),
        chart(waiting, t("system.queue.chart", { now: status.queuedStudies })),
        chart(took, t("system.latency.chart", { now: milliseconds(status.latency?.p99Ms) })),
        test,
      );
      show(versions, el("h2", {}, t("system.versions")), versionTable(status), changes(status));
    } catch (error) {
      show(state, el("h2", {}, t("system.state")), problem(error));
    }
  };
  const test = selfTest();
  const once = async (): Promise<void> => {
    const [served, stats, seen] = await Promise.allSettled([
      call<Served>("/v1/model"),
      call<Stats>("/v1/stats"),
      call<Drift>("/v1/Admin/GetDrift", { weeks: WEEKS }),
    ]);
    show(
      model,
      el("h2", {}, t("system.model")),
      ...(served.status === "fulfilled" ? modelParts(served.value) : [problem(served.reason)]),
    );
    show(
      drift,
      el("h2", {}, t("system.drift")),
      ...(seen.status === "fulfilled" ? driftParts(seen.value) : [problem(seen.reason)]),
    );
    show(store, el("h2", {}, t("system.store")), stats.status === "fulfilled" ? storeTable(stats.value) : problem(stats.reason));
  };
  return {
    node: el("section", { class: "page" }, el("h1", { tabIndex: -1 }, t("system.heading")), state, versions, drift, model, store),
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
  const last = status.lastSelfTest;
  const test = last
    ? t(last.passed ? "system.selftest.passed" : "system.selftest.failed", { ago: duration(status.selfTestAgeS ?? 0) })
    : t("system.selftest.never");
  const { calls, p50Ms, p99Ms } = status.latency ?? { calls: 0 };
  const rows: [string, string | HTMLElement][] = [
    [t("system.screening"), serving(status.screening) + (status.reason ? `: ${status.reason}` : "")],
    [t("system.archive"), serving(status.archive)],
    ...status.archiveReplicas.map(replicaRow),
    [t("system.uptime"), duration(status.uptimeS)],
    [
      t("system.workers"),
      t("system.workers.value", { ready: status.workersReady, wanted: status.workersWanted, lost: status.workersLost }),
    ],
    [
      t("system.queue"),
      t("system.queue.value", { studies: status.queuedStudies, bytes: bytes(Number(status.queuedBytes)) }),
    ],
    [
      t("system.latency"),
      calls ? t("system.latency.value", { calls, p50: milliseconds(p50Ms), p99: milliseconds(p99Ms) }) : t("system.latency.none"),
    ],
    [t("system.answer"), milliseconds(answerMs)],
    [t("system.selftest"), last ? `${test}: ${drifted(last)}` : test],
  ];
  return table(rows);
}

/** A standby of the archive; while it answers nothing the archive's owner does. */
function replicaRow({ number, state, lagS, reads }: Status["archiveReplicas"][number]): [string, string | HTMLElement] {
  const known = REPLICAS[state];
  const answers = known ? t(known) : state;
  const held = lagS === undefined ? "" : t("system.replica.lag", { lag: lagS < 10 ? `${lagS.toFixed(1)} s` : duration(lagS) });
  const words = [answers, held, t("system.replica.reads", { reads: Number(reads).toLocaleString("en") })].filter(Boolean).join("; ");
  const well = state === "REPLICA_STATE_SERVING";
  return [t("system.replica", { number }), well ? words : el("span", { class: "warning flag" }, words)];
}

function keep(values: number[], latest: number): void {
  values.push(latest);
  if (values.length > POINTS) values.shift();
}

const milliseconds = (ms: number | undefined): string => (ms === undefined ? "–" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

/** How far this machine is from PyTorch's answers. */
function drifted({ studies, minCosine, maxAbsProbability, icdrFlips }: SelfTest): string {
  const figures = { studies, cosine: minCosine.toFixed(4), probability: maxAbsProbability.toFixed(4), flips: icdrFlips };
  return t("system.selftest.report", figures);
}

function versionTable(status: Status): HTMLElement {
  const rows: [string, string | HTMLElement][] = status.models.map(({ name, model, healthy }) => [
    name,
    t(healthy ? "system.loaded" : "system.loaded.not", {
      bundle: model.bundleSha256.slice(0, 12),
      precision: model.precision.replace("PRECISION_", ""),
      version: model.fovealVersion,
    }),
  ]);
  const shown = status.certificate;
  if (shown) {
    const words = t("system.certificate.value", {
      ends: day(shown.ends),
      days: Math.floor(shown.daysLeft),
      names: shown.names.join(", "),
      issuer: shown.issuer,
    });
    const wrong = shown.daysLeft < SOON_DAYS || !shown.current;
    rows.push([t("system.certificate"), wrong ? el("span", { class: "warning flag" }, words) : words]);
    rows.push([t("system.callers"), t(shown.asksCallers ? "system.callers.certificate" : "system.callers.none")]);
    if (!shown.current) rows.push([t("system.certificate.files"), t("system.certificate.stale")]);
  } else {
    rows.push([t("system.certificate"), t("system.certificate.none")]);
  }
  return table(rows);
}

function changes({ history }: Status): HTMLElement {
  const rows = [...history].reverse().map(({ at, name, event, bundleSha256, reason }) => {
    const happened = EVENTS[event];
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, moment(at)),
      el("td", {}, name),
      el("td", {}, happened ? t(happened) : event, reason && `: ${reason}`),
      el("td", {}, el("code", {}, bundleSha256.slice(0, 12))),
    );
  });
  const caption = el("caption", {}, t("system.history"));
  return el("table", { class: "hits changes" }, caption, ...rows);
}

function chart(values: number[], words: string): HTMLElement {
  const canvas = el("canvas", {
    width: 600,
    height: 80,
    class: "chart",
    role: "img",
    "aria-label": words,
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
  return el("figure", {}, canvas, el("figcaption", {}, words));
}

function selfTest(): HTMLElement {
  const report = el("p", { "aria-live": "polite" });
  const button = el("button", { type: "button" }, t("system.selftest.go"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    show(report, t("system.selftest.busy"));
    try {
      show(report, drifted(await call<SelfTest>("/v1/Admin/SelfTest", {})));
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
