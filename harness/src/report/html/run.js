// What is in the report? The list of cases is read at once, the rest of a case when somebody looks at it.

/** Resolves when all of the page has been read. */
const whole = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
  else resolve();
});

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const all = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) all[at] = text.charCodeAt(at);
  return all;
}

/** The JSON that the element `id` holds deflated. */
async function inflated(id) {
  const bytes = bytesOf(document.getElementById(id).textContent);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

if (typeof DecompressionStream === "undefined") {
  const why = "This browser cannot read the page: it has no DecompressionStream, which browsers have had since 2023. All of the data is in report.json, too.";
  document.getElementById("totals").append(why);
  return;
}
const RUN = await inflated("run");
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

const numbers = new Map(CASES.map((one, at) => [one.name, at]));

/** The pieces that were read last. */
const pieces = new Map();

/** Everything about the case numbered `at`. */
async function details(at) {
  const number = Math.floor(at / RUN.piece);
  if (!pieces.has(number)) {
    pieces.set(number, whole.then(() => inflated(`cases-${number}`)));
    if (pieces.size > 4) pieces.delete(pieces.keys().next().value);
  }
  return (await pieces.get(number))[at % RUN.piece];
}

/** A file that is in the page, in base64. */
function base64Of(file) {
  return document.getElementById(`file-${file}`).textContent;
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

/** By case, all that a search looks through, in lower case: at first what stands in the list. */
const haystacks = CASES.map((one) => [one.name, one.verdict, `${fromOf(one)} -> ${toOf(one)}`, one.line, ...one.buffers].join("\n").toLowerCase());

function farText(all) {
  const devices = [all.exporter, all.importer].map((side) => side?.device && `${side.device.name} ${side.device.driver}`);
  const heaps = new Set(all.mappings.flatMap((one) => [one.device, one.placement.heap, one.placement.buffer.exporter]));
  const facts = (all.facts ?? []).map(([label, text]) => `${label} ${text}`);
  const far = [all.message, all.reason, all.output, ...all.kernel_log, ...devices, ...heaps, ...facts, ...Object.keys(all.figures)];
  return far.filter(Boolean).join("\n").toLowerCase();
}

/** Gets every case ready to be searched in full, piece by piece, so that nobody waits for it. */
async function prepareSearch() {
  await whole;
  for (let first = 0; first < CASES.length; first += RUN.piece) {
    const piece = await inflated(`cases-${first / RUN.piece}`);
    // Only the texts are kept: a few thousand cases in full would fill the memory for nothing.
    piece.forEach((all, n) => (haystacks[first + n] += `\n${farText(all)}`));
    await new Promise((resolve) => setTimeout(resolve));
  }
  matched.q = undefined;
  document.documentElement.dataset.searchable = "all";
}
