// From whatever a reader drops, pastes, chooses or photographs to a small picture on white, or a sentence that says why
// not. The browser turns a photo as its EXIF entry says. Nothing leaves the page. Twin: dinov2_edu.pictures.read_rgb.
import { h } from "./_shell.js";
import { button } from "./_controls.js";
import { fileDoors } from "./_file_doors.js";

const LONGEST = 512; // pixels: what is kept of a photo; the model sees 128 at most
const READABLE = "JPEG, PNG, WebP, GIF and AVIF can be read.";
const BEGINNINGS = { // the first letters of files that are pictures
  JPEG: "\xff\xd8\xff", PNG: "\x89PNG", GIF: "GIF8", WebP: "RIFF", BMP: "BM", TIFF: "II*\0", "TIFF file": "MM\0*",
};

/** The kind of picture that a file's first bytes promise, or "". */
export function promisedKind(bytes) {
  const text = String.fromCharCode(...bytes);
  if (/^ftyp(hei[cxms]|hev[cx]|mif1|msf1)/.test(text.slice(4))) return "HEIC";
  if (/^ftypavi[fs]/.test(text.slice(4))) return "AVIF";
  return Object.keys(BEGINNINGS).find((kind) => text.startsWith(BEGINNINGS[kind])) ?? "";
}

/** Why a file could not be read and what to do, in a sentence for the reader. */
export function refusal(name, kind, size) {
  if (size === 0) return `“${name}” is empty. Choose another file.`;
  if (kind === "HEIC") {
    return `“${name}” is a HEIC photo, which this browser cannot decode. Save or share it as JPEG and choose that.`;
  }
  if (kind.startsWith("TIFF")) return `“${name}” is a TIFF, which this browser cannot decode. Save it as PNG or JPEG.`;
  if (kind) return `“${name}” begins like a ${kind} but cannot be decoded: it is damaged or cut short. Try another copy.`;
  return `“${name}” is no picture that this browser can read. ${READABLE}`;
}

/** Whether a JPEG stops before its end mark (a small copy inside has one, too): some browsers draw what is there in gray. */
export function cutShort(bytes) {
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda) at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
  for (; at < bytes.length - 1; at++) if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return false;
  return true;
}

/** A canvas with a drawable on white, its longer side at most LONGEST; halved again and again, so that nothing aliases. */
export function onWhite(drawable) {
  let [source, width, height] = [drawable, drawable.width, drawable.height];
  const shrink = Math.min(1, LONGEST / Math.max(width, height));
  const goal = [width, height].map((side) => Math.max(1, Math.round(side * shrink)));
  do {
    const next = [width, height].map((side, i) => Math.max(goal[i], Math.ceil(side / 2)));
    const canvas = h("canvas", { width: next[0], height: next[1] });
    const ctx = canvas.getContext("2d", { willReadFrequently: true });
    ctx.fillStyle = "#ffffff";
    ctx.fillRect(0, 0, ...next);
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(source, 0, 0, ...next);
    [source, width, height] = [canvas, ...next];
  } while (width > goal[0] || height > goal[1]);
  return source;
}

/** A canvas with the picture of a file (or Blob). Throws an Error with a sentence for the reader. */
export async function readPicture(file) {
  const name = file.name || "What you gave";
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = promisedKind(bytes.subarray(0, 16));
  const refuse = () => { throw new Error(refusal(name, kind, bytes.length)); };
  if (!bytes.length || (kind === "JPEG" && cutShort(bytes))) refuse();
  const bitmap = await createImageBitmap(file).catch(refuse);
  const canvas = onWhite(bitmap);
  bitmap.close();
  return canvas;
}

/** The doors of a control for pictures: those of files, and the camera. give(files) hears what came in; returns what closes them. */
export function doors(ui, { give, say, into }) {
  const closeFiles = fileDoors(ui, { give, into, label: "Choose a picture", name: "Choose pictures", accept: "image/*",
    multiple: true });
  const closeCamera = navigator.mediaDevices?.getUserMedia ? camera(ui, { give, say, into }) : () => {};
  return () => { closeFiles(); closeCamera(); };
}

/** The camera: asked for on a press only, shown in a small window, given back when a picture was taken. */
function camera(ui, { give, say, into }) {
  const video = h("video", { playsinline: true, muted: true, "aria-label": "What the camera sees", class: "dv2-video" });
  const box = h("div", { class: "dv2-row", hidden: true }, video);
  let [stream, request] = [null, 0]; // a stream that comes after its request is over is given back at once
  const giveBack = (one) => one?.getTracks().forEach((track) => track.stop());
  const close = () => {
    request += 1;
    giveBack(stream);
    [stream, video.srcObject, box.hidden] = [null, null, true];
  };
  const take = () => {
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    close();
    canvas.toBlob((blob) => blob && give([new File([blob], "camera.png", { type: "image/png" })]));
  };
  button(ui, { label: "Use the camera", into, onPress: async () => {
    if (stream) return;
    const mine = request += 1;
    try {
      const given = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (mine !== request) return giveBack(given);
      [stream, video.srcObject] = [given, given];
      await video.play();
      box.hidden = mine !== request;
    } catch {
      if (mine !== request) return;
      close();
      say("The camera was not given: the browser refused, or there is none. A picture can be chosen or dropped instead.");
    }
  } });
  into.append(box);
  button(ui, { label: "Take the picture", into: box, primary: true, onPress: take });
  button(ui, { label: "Close the camera", into: box, onPress: close });
  return close;
}
