// The bytes behind an address, with word of how far it is.

/** Browsers have words of their own for a network that is not there; this one's are the same everywhere. */
function refused(error) {
  throw error.name === "AbortError" ? error : new Error("The fetch failed.");
}

/** An ArrayBuffer. progress(done, total): bytes so far and, where the server says it, of all (else 0). */
export async function download(url, { progress = () => {}, signal = null } = {}) {
  const response = await fetch(url, { signal }).catch(refused);
  if (!response.ok) throw new Error(`${url.split("/").pop()} could not be fetched (${response.status} ${response.statusText}).`);
  const total = Number(response.headers.get("content-length")) || 0;
  const [parts, reader] = [[], response.body.getReader()];
  for (let done = 0; ;) {
    const piece = await reader.read().catch(refused);
    if (piece.done) break;
    parts.push(piece.value);
    done += piece.value.length;
    progress(done, total);
  }
  return new Blob(parts).arrayBuffer();
}
