/**
 * Breaks a text into lines of at most `width` characters, each of which begins with `indent`.
 *
 * @param {string} text
 * @param {number} width
 * @param {string} [indent]
 */
export function wrap(text, width, indent = '') {
  const lines = ['']
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && indent.length + line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.map((line) => indent + line).join('\n')
}
