import fc from 'fast-check'
import { expect, test } from 'vitest'
import { serveCommand } from '../commands/serve-command.js'
import { twoDashes } from './dashes.js'
import { readServeFlags, SERVE_OPTIONS } from './serve-flags.js'

/** Reads the same arguments with commander. Returns undefined if commander refuses them. */
function commanders(args: readonly string[]): object | undefined {
  const command = serveCommand()
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .action(() => {})
  const known = new Set(SERVE_OPTIONS.map(({ name }) => name as string))
  try {
    return command.parse(twoDashes(args, known), { from: 'user' }).opts()
  } catch {
    return undefined
  }
}

const value = fc.constantFrom(
  '0',
  '1',
  '80',
  '99999',
  '-1',
  '10k',
  'park',
  'net',
  'json',
  'text',
  '::1',
  '',
  ' ',
  'a=b',
  '--'
)
const option = fc
  .tuple(
    fc.constantFrom('--', '-'),
    fc.constantFrom(...SERVE_OPTIONS.map(({ name }) => name as string), 'nope', 'h', 'help')
  )
  .map((parts) => parts.join(''))
const args = fc.oneof(
  fc.tuple(option, value),
  fc.tuple(option, value).map((parts) => [parts.join('=')]),
  fc.tuple(option),
  fc.tuple(value)
)

test('a command line is read as commander reads it, or left to commander', () => {
  let read = 0
  fc.assert(
    fc.property(fc.array(args, { maxLength: 4 }), (parts) => {
      const flags = readServeFlags(parts.flat())
      if (flags === undefined) return
      read++
      expect(flags).toEqual(commanders(parts.flat()))
    }),
    { numRuns: 2000 }
  )
  expect(read).toBeGreaterThan(50)
})

test('every option is read without commander, in every spelling', () => {
  const all = [
    '--host',
    '::1',
    '-port=80',
    '--procs',
    '2',
    '-backlog',
    '10k',
    '--mode=net',
    '--every',
    '1',
    '--log=json'
  ]
  const flags = { host: '::1', port: 80, procs: 2, backlog: 10_000, mode: 'net', every: 1, log: 'json' }
  expect(readServeFlags(all)).toEqual(flags)
  expect(readServeFlags([])).toEqual(commanders([]))
})
