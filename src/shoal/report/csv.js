// The cell of a CSV file. Spreadsheets run a text that begins with = + - or @, also behind blanks and quotes. Such a text,
// and every text that begins with an apostrophe, gets an apostrophe in front: whoever takes one leading apostrophe away
// from each cell has the texts as they were. Numbers stay as they are.
const FORMULA = /^(?:['\t\r\n]|[\s"'\u0000-\u001f\u00a0\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = String(value);
  return FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
}
