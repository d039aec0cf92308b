// The doctor's numbers and sentences. Twin: dinov2_edu.training.doctor.words; the words themselves come from Python.
import { decimals } from "./_numbers.js";

/** A number in words: words.number. `pieces` are the words for what is not finite. */
export function inWords(value, pieces) {
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return pieces[Number.isNaN(value) ? "not a number" : "infinite"];
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return wholeInWords(value);
  if (Math.abs(value) < 0.001) {
    const [digits, power] = value.toExponential(2).split("e");
    return `${digits}e${Number(power)}`;
  }
  const text = decimals(value, 3 - Math.floor(Math.log10(Math.abs(value))));
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** A number without decimals, its thousands apart. */
function wholeInWords(value) {
  if (Object.is(value, -0)) return "-0";
  return (Math.abs(value) < 2 ** 53 ? BigInt(decimals(value, 0)) : BigInt(value)).toLocaleString("en-US");
}

/** Put numbers into a sentence: words.say. */
export const putInto = (template, values, pieces = {}) =>
  template.replace(/\{(\w+)\}/g, (_, name) => inWords(values[name], pieces));

/** Why a log was refused, as an Error: words.refusal. */
export function refusedLog(words, why, values = {}) {
  const { refused } = words;
  const texts = Object.fromEntries(Object.entries({ wanted: refused.wanted, ...values }).map(([k, v]) => [k, String(v)]));
  return new Error(putInto(refused[why], texts));
}
