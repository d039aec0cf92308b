// The ways of a file into a control: chosen, dropped or pasted. Nothing leaves the page.
import { h } from "./_shell.js";
import { button } from "./_controls.js";

/** The files of a drop or a paste. */
const filesOf = (transfer) => [...(transfer?.files ?? [])];

/**
 * A button to choose files, and drop and paste on the whole control; give(files) hears what came in.
 *
 * `text`, where given, hears words that are pasted into the control outside of its fields. Returns what closes the doors.
 */
export function fileDoors(ui, { give, into, label, name = label, accept = null, multiple = false, text = null }) {
  const chooser = h("input", {
    type: "file", accept, multiple, hidden: true, "aria-label": name,
    onchange: () => { give([...chooser.files]); chooser.value = ""; },
  });
  into.append(chooser);
  button(ui, { label, into, onPress: () => chooser.click() });
  const over = (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    ui.root.classList.toggle("dv2-over", event.type === "dragover");
  };
  const drop = (event) => { over(event); give(filesOf(event.dataTransfer)); };
  for (const kind of ["dragover", "dragleave"]) ui.root.addEventListener(kind, over);
  ui.root.addEventListener("drop", drop);
  const paste = (event) => { // a paste into another control, or of words into a field, is none of ours
    const [files, inside] = [filesOf(event.clipboardData), ui.root.contains(event.target)];
    if (files.length && (inside || event.target === document.body)) give(files);
    else if (text && inside && !event.target.matches?.("textarea, [type=number]")) text(event.clipboardData.getData("text"));
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
