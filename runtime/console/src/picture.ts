/** A photograph on a canvas, and an evidence map over it. Pictures stay in this tab. */
import type { EvidenceMap } from "./api";
import { el } from "./dom";
import { t } from "./strings";

const LARGEST_PX = 1024;

/** Null for what the browser can't show. */
export async function decoded(file: Blob): Promise<ImageBitmap | null> {
  return createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
}

export class Picture {
  readonly node: HTMLElement;
  private readonly canvas: HTMLCanvasElement | null = null;
  private strength = 0;
  private map: HTMLCanvasElement | null = null;
  private frame: EvidenceMap["frame"] | null = null;

  constructor(
    private readonly bitmap: ImageBitmap | null,
    name: string,
  ) {
    if (!bitmap) {
      this.node = el("p", { class: "nopreview" }, t("grade.nopreview"));
      return;
    }
    const scale = Math.min(1, LARGEST_PX / Math.max(bitmap.width, bitmap.height));
    const words = { role: "img", "aria-label": t("grade.photograph", { name }) };
    this.canvas = el("canvas", {
      width: Math.round(bitmap.width * scale),
      height: Math.round(bitmap.height * scale),
      ...words,
    });
    this.node = this.canvas;
    this.draw();
  }

  /** Lay a map over the photograph. */
  overlay(found: EvidenceMap): void {
    const cells = el("canvas", { width: found.columns, height: found.rows });
    const pen = cells.getContext("2d");
    if (!pen) return;
    const pixels = pen.createImageData(found.columns, found.rows);
    found.cells.forEach((value, place) => pixels.data.set([0, 190, 255, Math.round(255 * value)], 4 * place));
    pen.putImageData(pixels, 0, 0);
    this.map = cells;
    this.frame = found.frame;
    this.draw();
  }

  /** How strongly the map is drawn, 0 to 1. */
  set opacity(strength: number) {
    this.strength = strength;
    this.draw();
  }

  private draw(): void {
    const { canvas, bitmap, map, frame } = this;
    const pen = canvas?.getContext("2d");
    if (!canvas || !bitmap || !pen) return;
    pen.globalAlpha = 1;
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    if (!map || !frame) return;
    pen.globalAlpha = this.strength;
    pen.imageSmoothingEnabled = true;
    const [x, y] = [frame.left * canvas.width, frame.top * canvas.height];
    pen.drawImage(map, x, y, frame.right * canvas.width - x, frame.bottom * canvas.height - y);
  }
}
