import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { count, flag, selection, text } from './command-line.mjs'

const run = promisify(execFile)

/**
 * Runs a benchmark and resolves with its exit code and output.
 *
 * @param {string} name
 * @param {readonly string[]} args
 */
async function bench(name, ...args) {
  const program = fileURLToPath(new URL(`../${name}/main.mjs`, import.meta.url))
  const child = run(process.execPath, [program, ...args])
  const { stdout, stderr } = await child.catch((/** @type {{ stdout: string, stderr: string }} */ failed) => failed)
  return { code: child.child.exitCode, stdout, stderr }
}

test.each([
  ['gate', 'bench:gate'],
  ['peers', 'bench'],
  ['pulse', 'bench:pulse'],
  ['scale', 'bench:scale'],
  ['server', 'bench:server'],
  ['start', 'bench:start'],
  ['governor', 'bench:governor'],
  ['swarm', 'bench:swarm'],
  ['matrix', 'matrix']
])('%s explains itself with --help, and refuses an unknown option in one sentence', async (name, script) => {
  const help = await bench(name, '--help')
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(help.stdout).toMatch(new RegExp(`^Usage: npm run ${script} -- \\[options\\]\\n`))
  expect(help.stdout).toMatch(/^ {2}--help +Print this text\.$/m)
  expect(help.stdout).toMatch(/^Exit codes: 0/m)
  expect(help.stdout.split('\n').filter((line) => line.length > 100)).toEqual([])

  const wrong = await bench(name, '--nosuch')
  expect(wrong).toMatchObject({ code: 1, stdout: '' })
  expect(wrong.stderr).toMatch(new RegExp(`^${script}: Unknown option '--nosuch' \\(.* lists the options\\)\\n$`))
})

test('a flag is false if it was not given', () => {
  expect([flag('').read(undefined), flag('').read('true')]).toEqual([false, true])
})

test('a text option has a default', () => {
  const { read } = text('DIR', '', 'results')
  expect([read(undefined), read('out')]).toEqual(['results', 'out'])
})

test('a count is a whole number from 1', () => {
  const { read } = count('--rounds', 'N', '', 3)
  expect([read(undefined), read('1'), read('1e3')]).toEqual([3, 1, 1000])
  for (const wrong of ['', '0', '-1', '1.5', 'x', 'Infinity']) {
    expect(() => read(wrong)).toThrow('--rounds must be a whole number from 1')
  }
})

test('a selection keeps the order of the command line', () => {
  const { read } = selection('NAME,NAME', '', 'part', ['memory', 'storm', 'echo'])
  expect(read(undefined)).toBeUndefined()
  expect(read('echo, memory')).toEqual(['echo', 'memory'])
  expect(() => read('echo,nosuch,')).toThrow('no such part: nosuch, ; there are memory, storm, echo')
})
