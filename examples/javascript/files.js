// The small file formats around a swap: landmarks, identities, and PNGs that say what they are.

/** What a written picture says about itself. */
export const NOTES = {
  Software: "IDN (idn-distill)",
  DigitalSourceType: "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
  Comment: "Contains faces made by a face-swapping network; they are not photographs of anybody.",
};

/** Ten numbers separated by commas, or JSON of five [x, y], as five [x, y]. */
export function parseLandmarks(text) {
  const numbers = text.trim().startsWith("[") ? JSON.parse(text).flat() : text.split(",").map(Number);
  if (numbers.length !== 10 || !numbers.every(Number.isFinite)) {
    throw new Error("the landmarks are not five points: give x1,y1,...,x5,y5 or [[x, y], ...]");
  }
  return [0, 2, 4, 6, 8].map((index) => numbers.slice(index, index + 2));
}

/** NumPy's file of a (1, L) float32 array. */
export function writeNpy(values) {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (1, ${values.length}), }`;
  const length = Math.ceil((10 + header.length + 1) / 64) * 64;
  const bytes = new Uint8Array(length + 4 * values.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  view.setUint16(8, length - 10, true);
  bytes.set(new TextEncoder().encode(`${header.padEnd(length - 11)}\n`), 10);
  values.forEach((value, index) => view.setFloat32(length + 4 * index, value, true));
  return bytes;
}

/** The numbers of such a file, whatever their shape, as a Float32Array. */
export function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 10 + view.getUint16(8, true);
  const header = new TextDecoder().decode(bytes.subarray(10, start));
  if (bytes[0] !== 0x93 || bytes[6] !== 1 || !header.includes("'<f4'") || header.includes("True")) {
    throw new Error("the identity is no .npy file of float32 numbers: make one with the identity command");
  }
  const values = new Float32Array((bytes.byteLength - start) / 4);
  return values.map((_, index) => view.getFloat32(start + 4 * index, true));
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** The same for programs that read XMP. */
export const XMP =
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
  `<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="${NOTES.Software}" ` +
  'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" ' +
  `Iptc4xmpExt:DigitalSourceType="${NOTES.DigitalSourceType}"/></rdf:RDF></x:xmpmeta>`;

function pngChunk(text) {
  const body = new TextEncoder().encode(text);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return chunk;
}

/** A PNG file with NOTES and XMP in it, right after its header. bytes: Uint8Array of a PNG file. */
export function markSynthetic(bytes) {
  const headEnd = 33;
  const chunks = Object.entries(NOTES).map(([key, value]) => pngChunk(`tEXt${key}\0${value}`));
  chunks.push(pngChunk(`iTXtXML:com.adobe.xmp\0\0\0\0\0${XMP}`));
  const parts = [bytes.subarray(0, headEnd), ...chunks, bytes.subarray(headEnd)];
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((offset, part) => (out.set(part, offset), offset + part.length), 0);
  return out;
}
