// What does each device need of a buffer? As it told, or as was found by trial, during this run.

/** From here on a number is no limit: 2^53 and more come as texts. */
const unlimited = (number) => typeof number === "string" || number >= 2 ** 53;

function range({ alignment, min, max }) {
  const parts = [];
  if (alignment > 1) parts.push(`multiples of ${bytes(alignment)}`);
  if (min > 0) parts.push(`at least ${bytes(min)}`);
  if (!unlimited(max)) parts.push(`at most ${bytes(max)}`);
  return parts.join(", ") || "any";
}

function sizes({ smallest, largest }) {
  const text = ({ width, height }) => (width >= 2 ** 32 - 1 ? "any" : `${width}x${height} px`);
  return smallest.width <= 1 && smallest.height <= 1 ? `up to ${text(largest)}`.replace("up to any", "any") : `${text(smallest)} to ${text(largest)}`;
}

const bitsOf = (bits) => [...Array(32).keys()].filter((bit) => (bits >>> bit) & 1);

/** Offsets must be multiples; of no frame's size, when there is to be none. */
function offsets(alignment) {
  if (unlimited(alignment)) return "0 only";
  return alignment > 1 ? `multiples of ${bytes(alignment)}` : "any";
}

/** Formats by the modifier that they come with. */
function formatLines(formats) {
  const modifiers = new Map();
  for (const { fourcc, modifier, planes } of formats) {
    const name = planes > 1 ? `${modifier}, ${planes} planes` : modifier;
    if (!modifiers.has(name)) modifiers.set(name, new Set());
    modifiers.get(name).add(fourcc);
  }
  return [...modifiers].map(([name, fourccs]) => el("div", {}, el("code", {}, el("b", {}, name), " ", [...fourccs].join(" "))));
}

function memoryNeeds(memory) {
  const parts = [];
  if (memory.heaps) parts.push(`of ${memory.heaps.join(" or ")}`);
  if (memory.types !== null) parts.push(`Vulkan memory type ${bitsOf(memory.types).join(" or ")}`);
  if (memory.dedicated) parts.push("dedicated to one image");
  if (memory.contiguous) parts.push("contiguous");
  if (memory.address_bits < 64) parts.push(`addresses of ${memory.address_bits} bits`);
  if (memory.segments !== null) parts.push(`at most ${grouped(memory.segments)} segments`);
  if (memory.segment_size !== null) parts.push(unlimited(memory.segment_size) ? "segments of any size" : `segments of at most ${bytes(memory.segment_size)}`);
  if (memory.cpu) parts.push("mappable by the CPU");
  return parts.join(", ") || "any";
}

function behindEnd({ padding, rows_behind: rows }) {
  const parts = [rows ? `${rows} row${rows === 1 ? "" : "s"}` : "", padding ? bytes(padding) : ""].filter(Boolean);
  return parts.join(" + ") || "nothing";
}

/** Answers that differ in nothing but the format, together. */
function limits(told) {
  const groups = new Map();
  for (const { frames, constraints } of told) {
    const { formats, ...rest } = constraints;
    const key = JSON.stringify(rest);
    if (!groups.has(key)) groups.set(key, { rest, formats: [], frames: new Set() });
    const group = groups.get(key);
    group.formats.push(...formats);
    for (const frame of frames) group.frames.add(frame);
  }
  return [...groups.values()];
}

/** The table of one device's answers. */
function constraintsTable(device, told) {
  const rows = limits(told).map(({ rest, formats, frames }) => {
    const asked = [...frames];
    const about = el("details", {}, el("summary", {}, `${asked.length} frame${asked.length === 1 ? "" : "s"}`), asked.join("; "));
    const cells = [formatLines(formats), about, sizes(rest), range(rest.pitch), offsets(rest.offset_alignment), range(rest.size), behindEnd(rest), memoryNeeds(rest.memory)];
    return el("tr", {}, cells.map((cell) => el("td", {}, cell)));
  });
  const names = ["formats", "asked for", "frame", "pitch", "offset", "buffer", "behind the end", "memory"];
  const head = el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)));
  const caption = el("caption", {}, el("b", {}, device));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Constraints of ${device}` }, el("table", { class: "constraints" }, caption, el("thead", {}, head), el("tbody", {}, rows)));
}

function byDevice(told) {
  const devices = new Map();
  for (const one of told) {
    if (!devices.has(one.device)) devices.set(one.device, []);
    devices.get(one.device).push(one);
  }
  return devices;
}

/** What the devices that mapped the buffers of a case told of such frames. */
function constraintsOf(all) {
  const frames = new Set(all.mappings.map(({ placement: { frame } }) => `${frame.fourcc} ${frame.size.width}x${frame.size.height} px`));
  const devices = new Set(all.mappings.map((mapping) => mapping.device));
  const told = (REPORT.constraints ?? []).filter((one) => devices.has(one.device) && one.frames.some((frame) => frames.has(frame)));
  return [...byDevice(told)].map(([device, answers]) => constraintsTable(device, answers));
}
