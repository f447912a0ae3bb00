// The invisible mark that says "made by a face swapper"; the same bytes as `idn.provenance.watermark.mark` in Python.
//
// `idn provenance FILE` finds it again, after JPEG, cropping, resizing and video compression. To mark pictures in a
// program of your own, copy this file. A picture is {width, height, data} with RGBA bytes, as ImageData.

/** Sides of the repeated pattern and of a block of one strength, and distance of the pixels that tell it, in pixels. */
const [TILE, BLOCK, STEP] = [128, 16, 4];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Add the wave with so many periods per tile to `total`. phase: in 256ths of a turn. */
function addWave(total, cosine, right, down, phase) {
  for (let y = 0; y < TILE; y++) {
    for (let x = 0; x < TILE; x++) total[y * TILE + x] += cosine[(2 * (right * x + down * y) + phase) & 255];
  }
}

let known = null;

/** The pattern, TILE x TILE numbers: waves 5 to 16 pixels long, whose phases are the key. */
export function tile() {
  if (known) return known;
  const cosine = Int32Array.from({ length: 256 }, (_, i) => Math.floor(1024 * Math.cos((2 * Math.PI * i) / 256) + 0.5));
  const total = new Int32Array(TILE * TILE);
  let state = 0x1d4;
  for (let down = -24; down <= 24; down++) {
    for (let right = 0; right <= 24; right++) {
      const length = right ** 2 + down ** 2;
      if (length < 8 ** 2 || length > 24 ** 2 || (right === 0 && down < 0)) continue;
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      addWave(total, cosine, right, down, state >>> 24);
    }
  }
  const energy = total.reduce((sum, value) => sum + value * value, 0) / TILE ** 2;
  known = Int16Array.from(total, (value) => clamp(Math.floor(value * (30 / Math.sqrt(energy)) + 0.5), -127, 127));
  return known;
}

/** How strong the mark is in the block whose first pixel is (left, top): more where the picture hides it. */
function strength({ width, height, data }, left, top) {
  const side = BLOCK / STEP;
  const last = (length) => length - 1 - ((length - 1) % STEP);
  let [sum, squares] = [0, 0];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const y = Math.min(top + STEP * row, last(height));
      const x = Math.min(left + STEP * column, last(width));
      const at = 4 * (y * width + x);
      const bright = (77 * data[at] + 150 * data[at + 1] + 29 * data[at + 2]) >> 8;
      sum += bright;
      squares += bright * bright;
    }
  }
  const variance = (side ** 2 * squares - sum * sum) / side ** 4;
  return Math.floor(clamp(19 + 2 * Math.sqrt(variance), 19, 48));
}

/** A copy of the picture with the mark in it. PSNR to the picture is 43 dB or more. */
export function mark(picture) {
  const { width, height } = picture;
  const columns = Math.ceil(width / BLOCK);
  const count = columns * Math.ceil(height / BLOCK);
  const wanted = Array.from({ length: count }, (_, index) =>
    strength(picture, BLOCK * (index % columns), BLOCK * Math.floor(index / columns)),
  );
  const energy = wanted.reduce((sum, value) => sum + value * value, 0) / count;
  const share = Math.min(1, 29 / Math.sqrt(energy));
  const strengths = wanted.map((value) => Math.floor(value * share + 0.5));
  const [pattern, data] = [tile(), new Uint8ClampedArray(picture.data)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const block = Math.floor(y / BLOCK) * columns + Math.floor(x / BLOCK);
      const change = (pattern[(y % TILE) * TILE + (x % TILE)] * strengths[block] + 256) >> 9;
      for (let c = 0; c < 3; c++) data[4 * (y * width + x) + c] += change;
    }
  }
  return { width, height, data };
}
