// How is an element made? Text stays text: nothing in this page takes markup from a string.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element; an attribute that is a function listens to the event of its name. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A number of bytes: exact, and in a larger unit where that is a round one or the number long. */
function bytes(number) {
  const exact = `${grouped(number)} B`;
  const units = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];
  const unit = units.find(([, size]) => Number(number) >= size);
  if (!unit) return exact;
  const value = Number(number) / unit[1];
  return Number.isInteger(value) ? `${value} ${unit[0]}` : `${exact} (${value.toFixed(1)} ${unit[0]})`;
}

function milliseconds(ms) {
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 100 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
}

/** A link, if the text is the address of a page; else the text. */
function maybeLink(text) {
  return /^https?:\/\//.test(text) ? el("a", { href: text, rel: "noreferrer" }, text) : el("code", {}, text);
}

/** A button that copies `text`, and says so. */
function copyButton(text, what) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Where a file may not use the clipboard, a selection still may.
      const area = el("textarea", { class: "offscreen" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = done ? "Copied" : "Not copied";
    say(`${what} ${done ? "copied" : "could not be copied"}`);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

/** Tells those who hear the page. */
function say(text) {
  document.getElementById("said").textContent = text;
}

/**
 * Lets arrow keys move the focus in a grid of elements, of which the tab key finds one.
 * `rows` is a list of lists; a missing element is skipped.
 */
function rove(rows, start) {
  const all = rows.flat().filter(Boolean);
  const focusable = (element) => {
    for (const other of all) other.tabIndex = other === element ? 0 : -1;
  };
  focusable(start ?? all[0]);
  rows.forEach((row, y) =>
    row.forEach((element, x) => {
      if (!element) return;
      element.addEventListener("focus", () => focusable(element));
      element.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        let to;
        if (step) {
          let [atX, atY] = [x + step[0], y + step[1]];
          while (rows[atY] && atX >= 0 && atX < rows[atY].length && !rows[atY][atX]) [atX, atY] = [atX + step[0], atY + step[1]];
          to = rows[atY]?.[atX];
        } else if (event.key === "Home") to = row.find(Boolean);
        else if (event.key === "End") to = row.findLast(Boolean);
        else return;
        event.preventDefault();
        to?.focus();
      });
    }),
  );
}
