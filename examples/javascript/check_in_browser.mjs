// Open the page in a headless Chromium, swap one face, and compare the picture that it offers with an expected one:
//
//   node check_in_browser.mjs PRODUCT TARGET.png TARGET.json EXPECTED.png [SOURCE.png SOURCE.json]
//
// TARGET.json and SOURCE.json hold landmarks; the source is for a product that takes any identity. EXPECTED.png is what
// another client made of the same files. Succeeds if 99.9 % of the pixels differ by at most two grey levels.
// Needs `npm install` here, and Chromium: $CHROMIUM or /usr/bin/chromium.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";
import sharp from "sharp";

const SCRIPT = "text/javascript";
const TYPES = { ".html": "text/html", ".js": SCRIPT, ".mjs": SCRIPT, ".wasm": "application/wasm" };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A static server of this folder, on a free port of this machine alone. */
async function serve() {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    try {
      const body = await readFile(join(import.meta.dirname, path));
      response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** Use the page as a person would; the bytes of the picture that it offers. */
async function swapOnPage(page, product, files) {
  await page.setInputFiles("#product", product);
  for (const [side, [photo, landmarks]] of Object.entries(files)) {
    await page.setInputFiles(`#${side} .photo`, photo);
    await page.waitForFunction((id) => document.querySelector(`#${id} canvas`).width > 0, side);
    await page.setInputFiles(`#${side} .landmarks`, landmarks);
    await page.getByText("Click again to start over.").and(page.locator(`#${side} .hint`)).waitFor();
  }
  await page.click("#swap");
  await page.waitForFunction(() => !["", "Working"].includes(document.getElementById("status").textContent));
  const status = await page.textContent("#status");
  if (!status.startsWith("Done")) throw new Error(`the page says: ${status}`);
  console.log(`the page says: ${status}`);
  const bytes = await page.evaluate(async () => {
    const offered = await fetch(document.getElementById("save").href);
    return Array.from(new Uint8Array(await offered.arrayBuffer()));
  });
  return Buffer.from(bytes);
}

function compare(picture, expected) {
  if (picture.width !== expected.width || picture.height !== expected.height) throw new Error("the sizes differ");
  let [largest, close] = [0, 0];
  for (let i = 0; i < picture.data.length; i += 4) {
    const difference = Math.max(...[0, 1, 2].map((c) => Math.abs(picture.data[i + c] - expected.data[i + c])));
    largest = Math.max(largest, difference);
    close += difference <= 2;
  }
  const share = close / (picture.width * picture.height);
  console.log(`largest difference ${largest}; ${(100 * share).toFixed(3)} % of the pixels within two grey levels`);
  return share >= 0.999;
}

async function main() {
  const [product, target, landmarks, expected, ...source] = process.argv.slice(2);
  if (!expected) throw new Error("usage: node check_in_browser.mjs PRODUCT TARGET.png TARGET.json EXPECTED.png");
  const server = await serve();
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(`on the page: ${error.message}`));
    page.on("console", (message) => message.type() === "error" && console.error(`on the page: ${message.text()}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/index.html`);
    const files = { ...(source.length && { source }), target: [target, landmarks] };
    const png = await swapOnPage(page, product, files);
    if (!png.includes("compositeWithTrainedAlgorithmicMedia")) throw new Error("the picture does not say that it is synthetic");
    if (!compare(await pixels(png), await pixels(await readFile(expected)))) process.exitCode = 1;
  } finally {
    await browser.close();
    server.close();
  }
}

/** RGBA of the bytes of a picture. */
async function pixels(bytes) {
  const { data, info } = await sharp(bytes).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}

main().catch((error) => {
  console.error(`check_in_browser.mjs: ${error.message}`);
  process.exitCode = 1;
});
