// The page of the demo: consent, two pictures from files or the camera, and what came of them.

const byId = (id) => document.getElementById(id);
let token = null;

/** Ask the server. Gives what it answers; throws its sentence if it refuses. */
async function ask(path, options = {}) {
  const response = await fetch(`api/${path}`, { ...options, headers: { ...options.headers, "X-Consent": token ?? "" } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function tell(sentence, wrong = false) {
  byId("status").textContent = sentence;
  byId("status").classList.toggle("wrong", wrong);
}

/** `action`, with its error told on the page. */
function attempt(action) {
  return async (event) => {
    try {
      await action(event);
    } catch (error) {
      tell(error.message, true);
    }
  };
}

/** One of the two pictures: a file, or what the camera sees. */
class PictureInput {
  constructor(id) {
    this.fieldset = byId(id);
    [this.image, this.video] = ["img", "video"].map((tag) => this.fieldset.querySelector(tag));
    [this.file, this.camera] = [".file", ".camera"].map((name) => this.fieldset.querySelector(name));
    this.picture = null;
    this.file.addEventListener("change", () => this.file.files[0] && this.show(this.file.files[0]));
    this.camera.addEventListener("click", attempt(() => (this.stream ? this.take() : this.open())));
  }

  show(picture) {
    this.close();
    this.picture = picture;
    URL.revokeObjectURL(this.image.src);
    this.image.src = URL.createObjectURL(picture);
    this.image.hidden = false;
    tell("");
  }

  async open() {
    if (!navigator.mediaDevices) throw new Error("the browser gives no camera to this address: open it as localhost");
    this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280 } });
    this.video.srcObject = this.stream;
    [this.video.hidden, this.image.hidden] = [false, true];
    this.camera.textContent = "Take the picture";
  }

  async take() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.video.videoWidth, this.video.videoHeight];
    if (!canvas.width) throw new Error("the camera shows nothing yet");
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.file.value = "";
    this.show(await new Promise((resolve) => canvas.toBlob(resolve, "image/png")));
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.hidden = true;
    this.camera.textContent = "Camera";
  }
}

const [source, target] = [new PictureInput("source"), new PictureInput("target")];
let students = [];

async function begin() {
  const headers = { "Content-Type": "application/json" };
  ({ token } = await ask("consent", { method: "POST", headers, body: JSON.stringify({ accepted: byId("agree").checked }) }));
  students = await ask("students");
  byId("student").replaceChildren(...students.map(({ name }) => new Option(shortened(name), name)));
  choose();
  byId("notice").close();
  byId("work").hidden = false;
}

/** The end of a path: the file and its folder. */
const shortened = (path) => path.split(/[\\/]/).slice(-2).join("/");

/** A student of drawn faces takes crops alone. */
function choose() {
  const { drawn_only } = students[byId("student").selectedIndex];
  [byId("aligned").checked, byId("aligned").disabled] = [drawn_only, drawn_only];
  byId("draw").hidden = !drawn_only;
}

/** The bytes of a data URL, without the network. */
function decoded(url) {
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

async function draw() {
  const drawn = await ask("drawn");
  source.show(decoded(drawn.source));
  target.show(decoded(drawn.target));
}

function show({ picture, views, seconds, similarity, before }) {
  URL.revokeObjectURL(byId("save").href);
  byId("save").href = URL.createObjectURL(decoded(picture));
  byId("picture").src = byId("save").href;
  byId("likeness").textContent =
    `Likeness to the source, as the student's encoder sees it: ${similarity.toFixed(2)}, before ${before.toFixed(2)}`;
  byId("views").replaceChildren(
    ...Object.entries(views).map(([name, url]) => {
      const [figure, image, caption] = ["figure", "img", "figcaption"].map((tag) => document.createElement(tag));
      [image.src, image.alt, caption.textContent] = [url, name, name === "mask" ? "mask" : `crop of the ${name}`];
      figure.append(image, caption);
      return figure;
    }),
  );
  byId("times").replaceChildren(
    ...Object.entries(seconds).map(([part, time]) => {
      const row = document.createElement("tr");
      [part, `${(1000 * time).toFixed(1)} ms`].forEach((text) => (row.insertCell().textContent = text));
      return row;
    }),
  );
  byId("answer").hidden = false;
}

async function swap() {
  if (!source.picture || !target.picture) throw new Error("choose the source and the target first");
  const form = new FormData();
  form.append("student", byId("student").value);
  form.append("aligned", byId("aligned").checked);
  form.append("source", source.picture);
  form.append("target", target.picture);
  byId("swap").disabled = true;
  tell("Working");
  try {
    const answer = await ask("swap", { method: "POST", body: form });
    show(answer);
    const total = Object.values(answer.seconds).reduce((sum, time) => sum + time, 0);
    tell(`Done in ${(1000 * total).toFixed(0)} ms`);
  } finally {
    byId("swap").disabled = false;
  }
}

byId("agree").addEventListener("change", () => (byId("accept").disabled = !byId("agree").checked));
byId("accept").addEventListener("click", attempt(begin));
byId("notice").addEventListener("cancel", (event) => event.preventDefault());
byId("student").addEventListener("change", choose);
byId("draw").addEventListener("click", attempt(draw));
byId("swap").addEventListener("click", attempt(swap));
byId("notice").showModal();
