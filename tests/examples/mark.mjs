// node mark.mjs WATERMARK.js WIDTH HEIGHT RGBA-FILE OUT-FILE: mark raw pixels.
import { readFile, writeFile } from "node:fs/promises";

const [script, width, height, given, out] = process.argv.slice(2);
const { mark } = await import(script);
const data = new Uint8ClampedArray(await readFile(given));
await writeFile(out, mark({ width: Number(width), height: Number(height), data }).data);
