// What are the exact values of a picture's pixels? A canvas would round 16 bits to 8, and colours by their alpha.

/**
 * The samples of a PNG as the harness writes it: 8 or 16 bits per channel, grey, RGB or RGBA, not interlaced.
 * Gives `{ width, height, most, fourcc, rgba }`, with four samples of 0 to `most` for each pixel.
 */
async function decodePng(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 33 || view.getUint32(0) !== 0x89504e47) throw new Error("it is no PNG");
  const parts = [];
  let [header, fourcc] = [undefined, ""];
  for (let at = 8; at + 12 <= file.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...file.subarray(at + 4, at + 8));
    if (at + 12 + length > file.length) throw new Error("its end is missing");
    const data = file.subarray(at + 8, at + 8 + length);
    if (kind === "IHDR") header = { width: view.getUint32(at + 8), height: view.getUint32(at + 12), bits: data[8], color: data[9], interlaced: data[12] };
    if (kind === "IDAT") parts.push(data);
    if (kind === "tEXt") {
      const [keyword, text] = new TextDecoder("latin1").decode(data).split("\0");
      if (keyword === "fourcc") fourcc = text;
    }
    at += 12 + length;
  }
  const { width, height, bits, color, interlaced } = header ?? {};
  const channels = { 0: 1, 2: 3, 6: 4 }[color];
  if (!channels || interlaced || (bits !== 8 && bits !== 16)) throw new Error("its kind of PNG is not read here");
  const packed = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(packed).arrayBuffer());
  const pixel = (channels * bits) / 8;
  const row = width * pixel;
  if (raw.length < (row + 1) * height) throw new Error("rows are missing");
  unfilter(raw, row, height, pixel);
  const wide = bits === 16;
  const most = wide ? 65535 : 255;
  const rgba = new (wide ? Uint16Array : Uint8Array)(width * height * 4);
  for (let y = 0, to = 0; y < height; y += 1) {
    for (let x = 0, at = y * (row + 1) + 1; x < width; x += 1, to += 4) {
      for (let channel = 0; channel < 4; channel += 1) {
        const from = channels === 1 ? 0 : channel;
        if (channel === 3 && channels < 4) rgba[to + 3] = most;
        else rgba[to + channel] = wide ? (raw[at + from * 2] << 8) | raw[at + from * 2 + 1] : raw[at + from];
      }
      at += pixel;
    }
  }
  return { width, height, most, fourcc, rgba };
}

/** Undoes the filters of PNG, row by row, in place. */
function unfilter(raw, row, height, pixel) {
  for (let y = 0; y < height; y += 1) {
    const start = y * (row + 1) + 1;
    const kind = raw[start - 1];
    for (let i = 0; i < row; i += 1) {
      const left = i >= pixel ? raw[start + i - pixel] : 0;
      const above = y ? raw[start + i - row - 1] : 0;
      let guess = 0;
      if (kind === 1) guess = left;
      else if (kind === 2) guess = above;
      else if (kind === 3) guess = (left + above) >> 1;
      else if (kind === 4) {
        const corner = y && i >= pixel ? raw[start + i - row - 1 - pixel] : 0;
        const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
        guess = a <= b && a <= c ? left : b <= c ? above : corner;
      }
      raw[start + i] += guess;
    }
  }
}

/** Where two pictures differ: how many pixels, and their numbers in order. */
function differences(target, actual) {
  const found = [];
  for (let at = 0; at < target.rgba.length; at += 4) {
    for (let channel = 0; channel < 4; channel += 1) {
      if (target.rgba[at + channel] !== actual.rgba[at + channel]) {
        found.push(at / 4);
        break;
      }
    }
  }
  return found;
}

/** What is looked at: colours as they are, over chequers, or one channel as grey. */
const LOOKS = ["RGB", "RGBA", "R", "G", "B", "A"];

/** The picture in a canvas of its own size. */
function paint(picture, canvas, look) {
  const { width, height, most, rgba } = picture;
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const shift = most > 255 ? 8 : 0;
  const one = "RGBA".indexOf(look);
  for (let at = 0; at < rgba.length; at += 4) {
    for (let channel = 0; channel < 4; channel += 1) {
      let value = rgba[at + (look.length === 1 && channel < 3 ? one : channel)] >> shift;
      if (channel === 3 && look !== "RGBA") value = 255;
      image.data[at + channel] = value;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
