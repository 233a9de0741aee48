// What is in the report? The list of cases is read at once, the rest of a case when somebody looks at it.

const RUN = JSON.parse(document.getElementById("run").textContent);
const REPORT = RUN.report;
const CASES = RUN.cases;

/** Verdicts, the ones to look at first. */
const VERDICTS = {
  fail: { glyph: "✗", red: true },
  crash: { glyph: "!", red: true },
  timeout: { glyph: "…", red: true },
  known: { glyph: "≈" },
  skip: { glyph: "–" },
  pass: { glyph: "✓" },
};

/** Roles in the order of the report; `none` is nobody. */
const ROLES = [...RUN.roles, "none"];

const fromOf = (one) => one.from ?? "none";
const toOf = (one) => one.to ?? "none";

const known = new Map();

/** Everything about the case numbered `at`; nothing as long as the page is still being read. */
function details(at) {
  if (!known.has(at)) {
    const element = document.getElementById(`case-${at}`);
    if (!element) return undefined;
    known.set(at, JSON.parse(element.textContent));
  }
  return known.get(at);
}

/** A file that is in the page, in base64. */
function base64Of(file) {
  return document.getElementById(`file-${file}`).textContent;
}

function bytesOf(file) {
  return Uint8Array.from(atob(base64Of(file)), (character) => character.charCodeAt(0));
}

const KINDS = { png: "image/png", svg: "image/svg+xml" };

function dataUrl(path, file) {
  return `data:${KINDS[path.split(".").pop()]};base64,${base64Of(file)}`;
}

/** A link to a file in the report's directory; a path that leads out of it stays a text. */
function fileLink(path) {
  if (path.startsWith("/") || path.split("/").includes("..")) return el("code", {}, path);
  const href = (RUN.link + path).split("/").map(encodeURIComponent).join("/");
  return el("a", { href }, path);
}

const haystacks = [];

/** All that a search looks through, in lower case. */
function haystack(at) {
  if (haystacks[at] === undefined) {
    const one = CASES[at];
    const near = [one.name, one.verdict, `${fromOf(one)} -> ${toOf(one)}`, one.line, ...one.buffers];
    const all = details(at);
    if (!all) return near.join("\n").toLowerCase();
    const devices = [all.exporter, all.importer].map((side) => side?.device && `${side.device.name} ${side.device.driver}`);
    const heaps = new Set(all.mappings.flatMap((one) => [one.device, one.placement.heap, one.placement.buffer.exporter]));
    const facts = (all.facts ?? []).map(([label, text]) => `${label} ${text}`);
    const far = [all.message, all.reason, all.output, ...all.kernel_log, ...devices, ...heaps, ...facts, ...Object.keys(all.figures)];
    haystacks[at] = [...near, ...far].filter(Boolean).join("\n").toLowerCase();
  }
  return haystacks[at];
}

/** Gets every case ready to be searched while nobody waits. */
function prepareSearch() {
  let next = 0;
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(() => work({ timeRemaining: () => 8 }), 1));
  const work = (deadline) => {
    while (next < CASES.length && deadline.timeRemaining() > 2) {
      // Not kept: a few thousand cases in full would fill the memory for nothing.
      const wasKnown = known.has(next);
      haystack(next);
      if (!wasKnown) known.delete(next);
      next += 1;
    }
    if (next < CASES.length) idle(work);
    else document.documentElement.dataset.searchable = "all";
  };
  idle(work);
}
