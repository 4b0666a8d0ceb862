/** The frame: which page is shown, the token, and what is served. */
import "./style.css";

import { call, Problem, type Served, type Status, useToken } from "./api";
import { el, labelled, show } from "./dom";
import { gradePage } from "./grade";
import { searchPage } from "./search";
import { t, type Key } from "./strings";
import { systemPage } from "./system";

const PAGES = ["grade", "search", "system"] as const;
type Name = (typeof PAGES)[number];

let served: Served | null = null;
let archived = false;

const about = el("p", { class: "about" });
const main = el("main", { id: "main", tabIndex: -1 });
const system = systemPage();
const pages: Record<Name, HTMLElement> = {
  grade: gradePage(() => ({ served, archived })),
  search: searchPage(),
  system: system.node,
};
const links = PAGES.map((name) => el("a", { href: `#${name}` }, t(`page.${name}` as Key)));
const token = el("input", { type: "password", autocomplete: "off", spellcheck: false });
const access = el(
  "details",
  { class: "access" },
  el("summary", {}, t("token")),
  labelled(t("token"), token),
  el("p", { class: "hint" }, t("token.hint")),
);
token.addEventListener("change", () => {
  useToken(token.value);
  void introduce();
});

async function introduce(): Promise<void> {
  try {
    const [model, status] = await Promise.all([call<Served>("/v1/model"), call<Status>("/v1/status").catch(() => null)]);
    served = model;
    archived = status?.archive === "SERVING_STATE_SERVING";
    const { model: ref, profile } = model;
    const values = { profile, precision: ref.precision.replace("PRECISION_", ""), bundle: ref.bundleSha256.slice(0, 12) };
    const signature = t(ref.signatureVerified ? "served.signed" : "served.unsigned");
    show(about, `${t("served", values)}, ${signature}`);
  } catch (error) {
    served = null;
    show(about, error instanceof Error ? error.message : t("served.none"));
    if (error instanceof Problem && error.reason === "UNAUTHENTICATED") access.open = true;
  }
}

function turn(): void {
  const asked = location.hash.slice(1) as Name;
  const name = PAGES.includes(asked) ? asked : "grade";
  system.stop();
  show(main, pages[name]);
  links.forEach((link, i) => {
    if (PAGES[i] === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  document.title = `${t(`page.${name}` as Key)} – ${t("title")}`;
  if (name === "system") system.start();
}

const skip = el("a", { class: "skip", href: "#main" }, t("skip"));
skip.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show(
  document.querySelector("#app") as HTMLElement,
  el(
    "header",
    {},
    skip,
    el("strong", { class: "brand" }, t("title")),
    el("nav", { "aria-label": t("nav") }, ...links),
    access,
    el("p", { class: "notice" }, t("notice")),
  ),
  main,
  el("footer", {}, about),
);
window.addEventListener("hashchange", () => {
  turn();
  main.querySelector<HTMLElement>("h1")?.focus();
});
turn();
void introduce();
