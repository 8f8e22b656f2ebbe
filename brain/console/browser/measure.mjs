// What is measured inside a page. These functions run in the browser and use nothing from outside.

/** Elements that reach out of the window although nothing scrolls there, and the page's own overflow. */
export function overflow() {
  const width = document.documentElement.clientWidth;
  const problems = [];
  if (document.documentElement.scrollWidth > width) {
    problems.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${width} px`);
  }
  const hidden = (element) => getComputedStyle(element).clipPath !== "none" || element.closest(".skip") !== null;
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0 || (box.right <= width + 1 && box.left >= -1)) continue;
    if (element.closest("svg") || hidden(element)) continue;
    problems.push(`${element.tagName.toLowerCase()}.${element.className} spans ${Math.round(box.left)} to ${Math.round(box.right)} px`);
    if (problems.length > 5) break;
  }
  return problems;
}

/** Text that is cut off without an ellipsis or a scroll bar. */
export function cut() {
  const problems = [];
  for (const element of document.querySelectorAll("button, .button, .badge, .place span, dd, dt, label, h1, h2, p, summary")) {
    const style = getComputedStyle(element);
    if (style.display === "inline" || style.clipPath !== "none" || element.closest(".unseen")) continue;
    if (element.clientWidth === 0 || style.textOverflow === "ellipsis" || style.overflowX === "auto") continue;
    if (element.scrollWidth > element.clientWidth + 2) {
      problems.push(`${element.tagName.toLowerCase()}.${element.className} cuts "${element.textContent.slice(0, 40)}"`);
    }
  }
  return problems.slice(0, 5);
}

/** Text whose contrast is below WCAG's AA (4.5, or 3 for large text). */
export function contrast() {
  const parse = (color) => {
    const parts = color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { rgb: parts.slice(0, 3), alpha: parts[3] ?? 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(each).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const problems = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest(":disabled, option, .row-arrived, noscript")) continue;
    const style = getComputedStyle(element);
    const a = light(parse(style.color).rgb);
    const b = light(ground(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      const text = node.data.trim().slice(0, 40);
      problems.add(`${element.tagName.toLowerCase()}.${element.className} (${text}) has contrast ${ratio.toFixed(2)}`);
    }
  }
  return [...problems].slice(0, 5);
}

/** Landmarks, names of controls, one heading of the first level. */
export function semantics() {
  const problems = [];
  if (document.querySelectorAll("main").length !== 1) problems.push("not exactly one main landmark");
  if (document.querySelectorAll("h1").length !== 1) problems.push("not exactly one h1");
  for (const control of document.querySelectorAll("button, a[href], input, select, textarea")) {
    const label = control.labels?.length || control.getAttribute("aria-label") || control.textContent.trim();
    if (!label) problems.push(`${control.tagName.toLowerCase()}.${control.className} has no name`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((each, index) => ids.indexOf(each) !== index))) {
    problems.push(`the id ${id} is used twice`);
  }
  return problems;
}

/** Signs that a host's string became more than text. */
export function struck() {
  const problems = [];
  if (window.__struck !== undefined) problems.push("a payload was executed");
  if (document.querySelectorAll("#root :is(script, img, iframe, object, embed, style, link, base)").length > 0) {
    problems.push("a payload became an element");
  }
  for (const link of document.querySelectorAll("a[href]")) {
    if (!["http:", "https:"].includes(link.protocol)) problems.push(`a link leads to ${link.protocol}`);
    if (link.origin !== location.origin && link.origin !== "https://attack.mitre.org") {
      problems.push(`a link leads to ${link.origin}`);
    }
  }
  for (const element of document.querySelectorAll("#root *")) {
    if ([...element.attributes].some((each) => each.name.startsWith("on"))) problems.push("an element has a handler attribute");
  }
  return problems;
}
