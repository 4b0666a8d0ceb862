/** Elements from data. Text is always text: nothing that a server or a file says becomes markup. */

type Child = Node | string | null | undefined | false;
type Properties = Record<string, unknown>;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value as EventListener);
    else if (name === "class") node.className = String(value);
    else if (name in node && !name.includes("-")) Reflect.set(node, name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child): child is Node | string => Boolean(child)));
  return node;
}

/** Put `children` in place of what is there. */
export function show(node: Element, ...children: Child[]): void {
  node.replaceChildren(...children.filter((child): child is Node | string => Boolean(child)));
}

let labels = 0;

/** A control with its label. */
export function labelled(text: string, control: HTMLElement, className = "field"): HTMLElement {
  control.id ||= `control-${++labels}`;
  return el("div", { class: className }, el("label", { htmlFor: control.id }, text), control);
}
