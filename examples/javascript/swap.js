// Swap a face with an exported network: alignment, resampling, inference and pasting, in a browser or in Node.
//
// Positions are continuous: pixel (i, j) has its centre at (i + 0.5, j + 0.5).
// A photo is {width, height, data} with RGBA bytes, as ImageData; other pictures also say how many channels they have.
// Landmarks are five [x, y] in pixels of the upright photo: left eye, right eye, nose, left and right mouth corner as
// seen in the image. A similarity {a, b, x, y} maps (u, v) to (a u - b v + x, b u + a v + y).

import * as ort from "onnxruntime-web";

// More threads want a page that is served with COOP and COEP headers.
ort.env.wasm.numThreads = 1;

/** From this mask value on, the pixel of the crop replaces that of the photo; below, they are blended. */
const SOLID = 0.25;
/** Width of the blended border of the crop, as a share of its side. */
const FEATHER = 0.1;
/** Largest root mean square error of the alignment, as a share of the side, that still looks like a face. */
const MISFIT = 0.1;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export function transform([u, v], { a, b, x, y }) {
  return [a * u - b * v + x, b * u + a * v + y];
}

export function invert({ a, b, x, y }) {
  const norm = a * a + b * b;
  const [p, q] = [a / norm, -b / norm];
  return { a: p, b: q, x: -(p * x - q * y), y: -(q * x + p * y) };
}

/** The similarity that maps `points` onto `onto` with the least squared error. */
export function fitSimilarity(points, onto) {
  const [px, py] = [0, 1].map((axis) => mean(points.map((point) => point[axis])));
  const [ox, oy] = [0, 1].map((axis) => mean(onto.map((point) => point[axis])));
  let [norm, a, b] = [0, 0, 0];
  points.forEach(([x, y], index) => {
    const [dx, dy] = [x - px, y - py];
    const [ex, ey] = [onto[index][0] - ox, onto[index][1] - oy];
    norm += dx * dx + dy * dy;
    a += dx * ex + dy * ey;
    b += dx * ey - dy * ex;
  });
  if (!(norm > 0)) throw new Error("the landmarks are one and the same point: give five points of a face");
  a /= norm;
  b /= norm;
  return { a, b, x: ox - (a * px - b * py), y: oy - (b * px + a * py) };
}

/** From pixels of the photo to pixels of a crop of `size`. template: {points}, five [x, y] in a crop of side 1. */
export function align(landmarks, template, size) {
  const wanted = template.points.map(([x, y]) => [x * size, y * size]);
  const onto = fitSimilarity(landmarks, wanted);
  const errors = landmarks.map((point, index) => {
    const [x, y] = transform(point, onto);
    return (x - wanted[index][0]) ** 2 + (y - wanted[index][1]) ** 2;
  });
  if (!(Math.sqrt(mean(errors)) <= MISFIT * size)) {
    throw new Error(
      "the landmarks do not form a face: give left eye, right eye, nose, left and right mouth corner, " +
        "where left and right are those of the picture",
    );
  }
  return onto;
}

/** Add `weight` times the bilinear value of a picture at (x, y) to `out`. Outside, the border goes on. */
function addSample({ width, height, channels, data }, x, y, weight, out, offset) {
  x = clamp(x - 0.5, 0, width - 1);
  y = clamp(y - 0.5, 0, height - 1);
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const [fx, fy] = [x - left, y - top];
  const upperLeft = (top * width + left) * channels;
  const upperRight = (top * width + right) * channels;
  const lowerLeft = (bottom * width + left) * channels;
  const lowerRight = (bottom * width + right) * channels;
  for (let c = 0; c < channels; c++) {
    const upper = data[upperLeft + c] * (1 - fx) + data[upperRight + c] * fx;
    const lower = data[lowerLeft + c] * (1 - fx) + data[lowerRight + c] * fx;
    out[offset + c] += weight * (upper * (1 - fy) + lower * fy);
  }
}

/**
 * Draw a new picture by a similarity from its pixels to those of `picture`.
 * Where one step in the new picture is n pixels long in the old one, each new pixel averages n x n samples.
 */
export function resample(picture, { a, b, x, y }, width, height) {
  const { channels } = picture;
  const n = Math.max(1, Math.ceil(Math.hypot(a, b) - 1e-6));
  const data = new Float32Array(width * height * channels);
  for (let row = 0; row < height * n; row++) {
    const v = (row + 0.5) / n;
    for (let column = 0; column < width * n; column++) {
      const u = (column + 0.5) / n;
      const offset = (Math.floor(row / n) * width + Math.floor(column / n)) * channels;
      addSample(picture, a * u - b * v + x, b * u + a * v + y, 1 / (n * n), data, offset);
    }
  }
  return { width, height, channels, data };
}

/** The crop that a network takes, as a tensor (1, 3, size, size) of RGB in [0, 1]. */
export function cut(photo, onto, size) {
  const { width, height } = photo;
  const { data } = resample({ width, height, channels: 4, data: photo.data }, invert(onto), size, size);
  const area = size * size;
  const planes = new Float32Array(3 * area);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < area; i++) planes[c * area + i] = data[4 * i + c] / 255;
  }
  return new ort.Tensor("float32", planes, [1, 3, size, size]);
}

/**
 * What goes into the photo: the image, and as a fourth number how much of each pixel.
 * That is 0 at the outermost pixels, so that the crop leaves no edge, and 0 where the network changed nothing, so that
 * the photo keeps its own sharpness there.
 */
function layerOf(image, mask) {
  const size = image.dims[3];
  const area = size * size;
  const data = new Float32Array(4 * area);
  for (let i = 0; i < area; i++) {
    const [column, row] = [i % size, Math.floor(i / size)];
    const inwards = Math.min(column, row, size - 1 - column, size - 1 - row) / (FEATHER * size);
    for (let c = 0; c < 3; c++) data[4 * i + c] = clamp(image.data[c * area + i], 0, 1);
    data[4 * i + 3] = clamp(inwards, 0, 1) * clamp(mask.data[i] / SOLID, 0, 1);
  }
  return { width: size, height: size, channels: 4, data };
}

/** A copy of the photo with the answer of the network in it. image: tensor (1, 3, S, S), mask: tensor (1, 1, S, S). */
export function pasteBack(photo, image, mask, onto) {
  const layer = layerOf(image, mask);
  const back = invert(onto);
  const side = layer.width;
  const corners = [[0, 0], [side, 0], [0, side], [side, side]].map((corner) => transform(corner, back));
  const span = (axis, limit) => {
    const values = corners.map((corner) => corner[axis]);
    return [Math.floor(Math.min(...values)), Math.ceil(Math.max(...values))].map((value) => clamp(value, 0, limit));
  };
  const [[left, right], [top, bottom]] = [span(0, photo.width), span(1, photo.height)];
  const [x, y] = transform([left, top], onto);
  const patch = resample(layer, { ...onto, x, y }, right - left, bottom - top);
  const data = new Uint8ClampedArray(photo.data);
  for (let i = 0; i < patch.width * patch.height; i++) {
    const [column, row] = [left + (i % patch.width), top + Math.floor(i / patch.width)];
    const [share, at] = [patch.data[4 * i + 3], 4 * (row * photo.width + column)];
    for (let c = 0; c < 3; c++) {
      const value = data[at + c] * (1 - share) + 255 * patch.data[4 * i + c] * share;
      data[at + c] = Math.floor(value + 0.5);
    }
  }
  return { width: photo.width, height: photo.height, data };
}

/** A folder that `idn export` wrote: networks, and the card that says how to feed them. */
export class Product {
  /**
   * read: async function that gives the bytes of a file of the folder, by its path there.
   * precision: of the files to use, as the card names it.
   */
  static async open(read, precision = "fp32") {
    return new Product(JSON.parse(new TextDecoder().decode(await read("card.json"))), read, precision);
  }

  constructor(card, read, precision) {
    this.card = card;
    this.takesIdentity = card.networks.swap.inputs.some(({ name }) => name === "identity");
    this.read = read;
    this.precision = precision;
    this.sessions = new Map();
  }

  /** Path of a network's ONNX file in the folder. */
  file(name) {
    const fits = (file) => file.network === name && file.format === "onnx" && file.precision === this.precision;
    const record = this.card.files.find(fits);
    if (!record) throw new Error(`the card lists no ${this.precision} ONNX file of ${name}: export one`);
    return record.path;
  }

  /** Outputs of a network by their names. Each network is loaded once. */
  async run(name, inputs) {
    if (!this.sessions.has(name)) {
      const bytes = await this.read(this.file(name));
      this.sessions.set(name, await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
    }
    return this.sessions.get(name).run(inputs);
  }

  /** The person of a photo as the numbers that the swapping network wants, a Float32Array. */
  async identity(photo, landmarks) {
    const { encoder } = this.card;
    if (!encoder || !this.takesIdentity) {
      throw new Error("this product holds one identity: it has no network that reads another from a photo");
    }
    const crop = cut(photo, align(landmarks, encoder.template, encoder.size), encoder.size);
    const { embedding, features } = await this.run("encoder", { crop });
    return (await this.run("injection", { embedding, features })).identity.data;
  }

  /** The photo with another face. identity: as `identity` returns it; null for a product that holds one. */
  async swap(photo, landmarks, identity) {
    if (this.takesIdentity && !identity) throw new Error("this product serves any identity: give it one");
    if (!this.takesIdentity && identity) throw new Error("this product holds one identity and takes no other");
    const { size, template } = this.card;
    const onto = align(landmarks, template, size);
    const inputs = { target: cut(photo, onto, size) };
    if (identity) inputs.identity = new ort.Tensor("float32", identity, [1, identity.length]);
    const { image, mask } = await this.run("swap", inputs);
    return pasteBack(photo, image, mask, onto);
  }
}
