/** Prepares text from recordings for a terminal or a chart: makes it harmless, measures, cuts and wraps it. */

/**
 * Characters that must not reach a terminal or an XML file: control characters, lone surrogates, line and paragraph
 * separators, marks that change the writing direction, and the two code points that XML forbids.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/gu

/** Characters without a column of their own: combining marks, joiners and variation selectors. */
const ZERO_WIDTH = /^[\p{Mn}\p{Me}\u200b-\u200d]$/u

/** Wide in every terminal: Hangul, kana, CJK, full-width forms and pictographs. Kept simple: no ambiguous widths. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]$/u

/** Returns the text on one line, with every unsafe character spelled out: an escape character becomes `\x1b`. */
export function clean(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
  })
}

/** Returns the text with blanks in place of line breaks and the white space around them. */
export function oneLine(text: string): string {
  return text.trim().replace(/\s*[\r\n]\s*/g, ' ')
}

/** Returns the number of columns that a cleaned text takes in a terminal. */
export function textWidth(text: string): number {
  let columns = 0
  for (const character of text) columns += ZERO_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1
  return columns
}

/** Cuts the text to at most `columns`, with an ellipsis at the cut. */
export function fit(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text
  return columns < 1 ? '' : `${split(text, columns - 1)[0]}…`
}

/** Wraps the text into lines of at most `columns`, at blanks. Cuts a word that is longer than a line. */
export function wrap(text: string, columns: number): string[] {
  const room = Math.max(2, columns)
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/ +/)) {
    if (line !== '' && textWidth(line) + 1 + textWidth(word) <= room) {
      line += ` ${word}`
      continue
    }
    if (line !== '') lines.push(line)
    line = word
    while (textWidth(line) > room) {
      const [head, tail] = split(line, room)
      lines.push(head)
      line = tail
    }
  }
  lines.push(line)
  return lines
}

function split(text: string, columns: number): [head: string, tail: string] {
  let head = ''
  let taken = 0
  for (const character of text) {
    taken += textWidth(character)
    if (taken > columns) break
    head += character
  }
  return [head, text.slice(head.length)]
}
