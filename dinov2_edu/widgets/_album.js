// The pictures of a control: samples, then the reader's own, as two rows of small ones to choose from.
import { decodeImage } from "./_numbers.js";
import { gallery } from "./_figures.js";
import { freshId, h, place } from "./_shell.js";
import { onWhite, readPicture } from "./_doors.js";

const MOST_OWN = 6; // pictures of the reader's that are kept

/** The pictures to choose from: the samples, then the reader's own. { all(), named(name), add(files) }. */
export async function album(ui, notice) {
  const { model } = ui;
  const read = async (bytes) => onWhite(await decodeImage(bytes));
  const samples = await Promise.all(model.get("samples").map(async (bytes, i) => {
    const name = model.get("names")[i];
    return { id: name, name, canvas: await read(bytes) };
  }));
  const own = [];
  let count = 0;
  const all = () => [...samples, ...own];
  const named = (name, otherwise) => all().find((one) => one.name === name) ?? samples[otherwise] ?? samples[0];

  async function add(files) {
    const said = [];
    const found = [];
    for (const file of files.slice(0, 2)) {
      try {
        const canvas = await readPicture(file);
        found.push({ id: freshId(), name: `yours ${++count}`, canvas });
      } catch (error) {
        said.push(error.message);
      }
    }
    if (files.length > 2) said.push("Two pictures at a time are taken; the others were left.");
    notice(said.join(" "));
    if (!found.length) return;
    own.push(...found);
    own.splice(0, own.length - MOST_OWN);
    const [first, second] = found.map(({ name }) => name);
    const before = model.get("photo");
    const kept = before.startsWith("yours") ? { other: before } : {};
    ui.set({ photo: first, ...(second ? { other: second } : kept) });
  }
  return { all, named, add };
}

/** Two rows of small pictures: which is looked at, and which it is compared with. */
export function pictureRows(ui, pictures) {
  const albums = place(ui, null, h("div", { class: "dv2-albums dv2-wide" }));
  const rows = [["photo", "Picture"], ["other", "Second picture"]].map(([key, label]) => {
    const box = h("div", { class: "dv2-control" }, h("span", { class: "dv2-label" }, label));
    albums.append(box);
    const update = gallery(ui, { key, label, columns: 6, into: box });
    box.lastChild.classList.add("dv2-pictures");
    ui.watch(() => update(pictures.all().map(({ name, canvas }) => ({
      value: name, name, text: name,
      paint: (ctx, side) => {
        const cut = Math.min(canvas.width, canvas.height);
        ctx.drawImage(canvas, (canvas.width - cut) / 2, (canvas.height - cut) / 2, cut, cut, 0, 0, side, side);
      },
    }))));
    return box;
  });
  return rows[1];
}
