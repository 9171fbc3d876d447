/** Reports have names of their own, and nothing is overwritten unless somebody asks for it. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MAIN, run } from './support/cli.js'
import { directory } from './support/sockets.js'

const PLAN = '-big=30 -small=20 -i 1 -l 200ms -bs=200ms -ss 100ms --pulses 1'.split(' ')
const SERVE = [process.execPath, MAIN, 'serve', '--port', '{port}', '--mode', 'net']

test('bench and box share a directory, ebb report reads both, and neither is overwritten unasked', async () => {
  const out = directory()
  const bench = (...more: string[]): ReturnType<typeof run> =>
    run(['bench', ...PLAN, '--out', out, ...more, '--', ...SERVE])
  expect((await bench()).code).toBe(0)
  const contents = (): string[] => readdirSync(out).map((name) => readFileSync(join(out, name), 'latin1'))
  const first = contents()

  const command = JSON.stringify(SERVE)
  const file = join(directory(), 'box.yaml')
  writeFileSync(
    file,
    `rest: 200ms\nservers: [{ command: ${command}, plan: { big: 20, iterations: 1, small: 10, pulses: 1, linger: 200ms, bigSeparation: 200ms } }]`
  )
  const box = (...more: string[]): ReturnType<typeof run> =>
    run(['box', file, '--no-control', '--duration', '4', '--out', out, ...more])
  expect(await box()).toMatchObject({ code: 0, stdout: expect.stringContaining(`Written:\n  ${out}/box.html\n`) })
  expect(contents()).toEqual(expect.arrayContaining(first))
  const both = contents()

  // A second run is refused before it starts a server.
  expect(await bench()).toMatchObject({
    code: 1,
    stdout: '',
    stderr: `ebb: EEXIST: ${out}/ebb.js.ndjson exists: give another directory with --out, or add --overwrite to replace it\n`
  })
  expect(await box()).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ebb: EEXIST: .*box\.ndjson exists/) })
  expect(contents()).toEqual(both)

  const recordings = readdirSync(out).flatMap((name) => (name.endsWith('.ndjson') ? join(out, name) : []))
  const report = await run(['report', ...recordings, '--out', out])
  expect(report).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/retention.*server 1.*Written:\n {2}.*report.html\n/s)
  })
  expect(contents()).toEqual(both)
  const { stdout } = await run(['report', ...recordings, '--json', '--out', out])
  expect(JSON.parse(stdout)).toMatchObject({ verdicts: [{ name: 'ebb.js' }], boxes: [{}], broken: [] })

  expect((await bench('--overwrite')).code).toBe(0)
  expect((await box('--overwrite')).code).toBe(0)
  expect(contents()).not.toEqual(both)
  expect(contents()).toHaveLength(both.length)
}, 60_000)

test('ebb report replaces pictures of the same recordings only', async () => {
  const folder = directory()
  const recorded = async (name: string): Promise<string> => {
    const out = join(folder, `${name}.ndjson`)
    await run([
      'record',
      '--out',
      out,
      '--name',
      name,
      '--duration',
      '300ms',
      '--',
      ...SERVE.slice(0, 3),
      '--port',
      '0'
    ])
    return out
  }
  const [one, two] = [await recorded('one'), await recorded('two')]
  const out = join(folder, 'out')
  const report = (...args: string[]): ReturnType<typeof run> => run(['report', ...args], { cwd: folder })
  expect((await report(one, '--out', out)).code).toBe(0)
  expect((await report(one, '--out', out)).code).toBe(0)
  const page = readFileSync(join(out, 'report.html'), 'utf8')
  expect(await report(two, '--out', out)).toMatchObject({
    code: 1,
    stderr: `ebb: EEXIST: ${out}/report.html shows other recordings: give another directory with --out, or add --overwrite to replace it\n`
  })
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toBe(page)
  expect((await report(two, '--out', out, '--overwrite')).code).toBe(0)
  expect(readFileSync(join(out, 'report.html'), 'utf8')).not.toBe(page)

  // In the current directory, which nobody has named, the verdict is printed all the same.
  expect((await report(one)).stdout).toContain('report.html')
  expect(await report(two)).toMatchObject({
    code: 0,
    stdout: expect.not.stringContaining('Written'),
    stderr: expect.stringContaining('note: No picture was drawn: report.html shows other recordings')
  })
})
