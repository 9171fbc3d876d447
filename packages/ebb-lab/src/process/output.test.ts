import { expect, test } from 'vitest'
import { quoteOutput } from './output.js'

const quote = (text: string): string => quoteOutput([Buffer.from(text)])

test.each<[string, string, string]>([
  ['nothing', ' \n', ''],
  ['one line', 'no database\n', '; it said: no database'],
  ['the last lines', 'a\nb\nc\n\nd\n', '; it said: b | c | d'],
  [
    'the error of a Node program, without its stack and its fields',
    `node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module '/x/nosuch.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.20.2
`,
    "; it said: Error: Cannot find module '/x/nosuch.js'"
  ],
  [
    'the error of a Python program',
    `Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    import nosuch\nModuleNotFoundError: No module named 'nosuch'\n`,
    "; it said: ModuleNotFoundError: No module named 'nosuch'"
  ],
  [
    'an error with a code, and what follows it',
    'Error [ERR_X]: bad\ntry again\nor not\nat all\nthe end',
    '; it said: Error [ERR_X]: bad | or not | the end'
  ],
  ['a shell without the program', 'sh: 1: nosuch: not found', '; it said: sh: 1: nosuch: not found'],
  ['colours and control characters', '\x1b[31mred\x1b[0m\x07\r\nblue', '; it said: red | blue']
])('quotes %s', (_, text, quoted) => {
  expect(quote(text)).toBe(quoted)
})

test('quotes at most three lines, and cuts long ones', () => {
  const text = quote(`Error: ${'x'.repeat(2000)}\n${'y\n'.repeat(100)}${'z'.repeat(2000)}`)
  expect(text.split(' | ')).toHaveLength(3)
  expect(text.length).toBeLessThan(800)
  expect(text).not.toMatch(/[\n\r]/)
})
