/** Calls of the server that this page came from. The token lives in this module alone: no storage, no cookie, no address. */
import { t } from "./strings";

let token = "";

export function useToken(given: string): void {
  token = given.trim();
}

/** What the server, or the way to it, refused. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly reason: string,
  ) {
    super(message);
  }
}

export async function call<T>(path: string, body?: FormData | object, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = {};
  if (token) headers.authorization = `Bearer ${token}`;
  const form = body instanceof FormData;
  if (body && !form) headers["content-type"] = "application/json";
  const init: RequestInit = { method: body ? "POST" : "GET", headers, cache: "no-store", credentials: "same-origin" };
  if (body) init.body = form ? body : JSON.stringify(body);
  if (signal) init.signal = signal;
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(t("error.offline"), "OFFLINE");
  }
  const document = await answer.json().catch(() => ({}));
  if (answer.ok) return document as T;
  if (answer.status === 401) throw new Problem(t("error.token"), "UNAUTHENTICATED");
  if (answer.status === 403 && document.code === "PERMISSION_DENIED") throw new Problem(t("error.role"), document.reason);
  throw new Problem(String(document.detail ?? answer.statusText), String(document.reason ?? answer.status));
}

export interface ModelRef {
  bundleSha256: string;
  spaceId: string;
  precision: string;
  fovealVersion: string;
  signatureVerified: boolean;
}

export interface OperatingPoint {
  name: string;
  threshold: number;
  sensitivity?: number;
  specificity?: number;
  studies: number;
}

export interface EvidenceMap {
  rows: number;
  columns: number;
  cells: number[];
  frame: { left: number; top: number; right: number; bottom: number };
  largestLogOdds: number;
}

export interface Graded {
  heads: { head: string; classes: { name: string; probability: number }[]; likeliest: string }[];
  icdr: string;
  referral: string;
  referralBasis?: { probability: number; operatingPoint: OperatingPoint; byGradeAlone: boolean };
  icdrSet?: { grades: string[]; coverage: number };
}

export interface Grade {
  graded?: Graded;
  ungradable?: { reason: string; message: string };
  abstained?: { reason: string; message: string };
  quality?: { status: string; message: string };
  imputedFields: string[];
  truncatedFields: string[];
  unverifiedHeads: string[];
  filledFields: { field: string; source: string }[];
  novelty?: { distance: number; unlikeTraining: boolean };
  evidenceMap?: EvidenceMap;
}

export interface Result {
  id: string;
  grade?: Grade;
  error?: { message: string };
}

export interface Exam {
  results: Result[];
  eyes: { eye: string; gradable: boolean; icdr: string; referral: string }[];
  patient: { referral: string; icdr: string; complete: boolean };
}

export interface Hit {
  score: number;
  entry: { facts: { id: string; eye: string; icdr: string; acquired: string; source: string; camera: string; site: string } };
}

export interface Served {
  model: ModelRef;
  profile: string;
  trainedHeads: string[];
  trainedSubsets: string[];
  evidenceMaps?: boolean;
  operatingPoints: Record<string, { points: OperatingPoint[] }>;
  parity?: Record<string, number | string | boolean>;
  evidence: Record<string, { heads: Record<string, { status: string; kappa?: number; studies: number }> }>;
  trainedOn?: { datasets: string[]; studies: number };
  warnings: string[];
}

export interface Status {
  model?: ModelRef;
  screening: string;
  archive: string;
  reason: string;
  uptimeS: number;
  workersReady: number;
  workersWanted: number;
  workersLost: string;
  queuedStudies: number;
  queuedBytes: string;
  models: { name: string; model: ModelRef; healthy: boolean }[];
  history: { at: string; name: string; event: string; bundleSha256: string; reason: string }[];
  certificate?: { names: string[]; issuer: string; ends: string; daysLeft: number; asksCallers: boolean; current: boolean };
  lastSelfTest?: SelfTest;
  selfTestAgeS?: number;
  latency?: { calls: number; p50Ms?: number; p99Ms?: number };
  archiveReplicas: { number: number; state: string; lagS?: number; reads: string }[];
}

export interface Camera {
  camera: string;
  device: string;
  photographs: string;
  references: {
    kind: string;
    photographs: string;
    alarm?: { since: string; signals: string[] };
    evidence: Record<string, number>;
  }[];
  weeks: { week: string; photographs: number; quality: { status: string; photographs: number }[]; icdr: number[]; unlikeTraining: number }[];
}

export interface Drift {
  counted: boolean;
  cameras: Camera[];
}

export interface Stats {
  entries: string;
  bytesOnDisk: string;
  serverVersion: string;
}

export interface SelfTest {
  passed: boolean;
  studies: number;
  minCosine: number;
  maxAbsProbability: number;
  icdrFlips: number;
}
