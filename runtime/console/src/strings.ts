/** Words of the pages: one table, to be translated as a whole. */
import table from "./strings.json";

export type Key = keyof typeof table;

/** The words of a key, with `{name}` replaced. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return table[key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 || share > 0.9 ? 1 : 0)} %`;

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (count >= 1000 && place < units.length - 1) {
    count /= 1000;
    place += 1;
  }
  return `${count < 10 && place ? count.toFixed(1) : Math.round(count)} ${units[place]}`;
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** The day of a moment, in this browser's time. */
export const day = (at: string): string => new Date(at).toLocaleDateString("en-CA");

export const moment = (at: string): string => `${day(at)} ${new Date(at).toLocaleTimeString("en-GB")}`;
