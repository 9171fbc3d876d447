/** `ebb report` as a process, on recordings that look like real ones. */
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Recording } from '../../record/recording.js'
import { type SyntheticOptions, synthetic } from '../../report/testing/synthetic.js'
import { CLI_PATH } from '../../testing.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-compare-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function save(path: string, { header, samples, events }: Recording): void {
  const lines = [header, ...[...samples, ...events].sort((a, b) => a.t - b.t)]
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
}

/** Writes recordings of several runs on `net` as `ebb bench --runs` names them. Returns their folder. */
function recorded(name: string, each: SyntheticOptions[], { marked = true } = {}): string {
  const out = mkdtempSync(join(folder, `${name}-`))
  for (const [index, options] of each.entries()) {
    for (const role of ['main', 'control'] as const) {
      const recording = synthetic({ name: 'net', role, ...options })
      if (marked) recording.header.run = { index: index + 1, of: each.length }
      save(join(out, `net.${index + 1}${role === 'main' ? '' : '.control'}.ndjson`), recording)
    }
  }
  return out
}

interface Ran {
  code: number
  stdout: string
  stderr: string
}

function report(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI_PATH, 'report', ...args], { cwd: folder }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

const keeps = (...each: number[]): SyntheticOptions[] => each.map((one) => ({ keeps: one, perConnection: 6000 }))

test('--against compares several runs, writes the summary, and fails the job on what is worse', async () => {
  const before = recorded('before', keeps(0, 0.01, 0, 0.01))
  const after = recorded('after', keeps(0.5, 0.55, 0.6, 0.5))
  const summary = join(folder, 'summary.md')
  writeFileSync(summary, 'An earlier step\n\n')
  const out = join(folder, 'out')
  const args = [after, '--against', before, '--out', out, '--summary', summary]
  const worse = await report(...args, '--fail-on', 'retention,peak')
  expect(worse).toMatchObject({
    code: 3,
    stdout: expect.stringMatching(
      /^net \(4 runs\) against net \(4 runs\)\n.*^retention +1\.0\d +\d\.\d\d +\+\d+ % {2}✗ worse$/ms
    ),
    stderr: expect.stringMatching(/^limit broken: net: retention is worse: \d\.\d\d, before 1\.0\d \(\+\d+ %\)\.$/m)
  })
  expect(worse.stderr).not.toContain('peak')
  const text = readFileSync(summary, 'utf8')
  expect(text).toMatch(/^An earlier step\n\n### ebb: net kept [\d.]+ MB more than it needs/)
  expect(text).toContain('\n- ❌ net: retention is worse')
  expect(text).toMatch(/^\| retention \| 1\.0\d \| \d\.\d\d \| \+\d+ % \| ❌ worse \|$/m)
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('Compared with before')

  // The verdict itself is as without a comparison, and so is the other direction.
  const better = await report(before, '--against', after, '--fail-on', 'worse', '--json', '--out', join(folder, 'out2'))
  expect(better.code).toBe(0)
  const { comparisons, verdicts } = JSON.parse(better.stdout)
  expect(comparisons).toMatchObject([{ name: 'net', runs: { before: 4, now: 4 } }])
  expect(comparisons[0].figures[0]).toMatchObject({ figure: 'retention', change: 'better', p: 0.0286 })
  const alone = JSON.parse((await report(before, '--json', '--out', join(folder, 'out3'))).stdout)
  expect(alone.verdicts).toEqual(verdicts)
  expect(alone).not.toHaveProperty('comparisons')
})

test('files with one name are runs; a threshold hides a difference; a single run cannot fail a job', async () => {
  const before = recorded('before', keeps(0, 0.01), { marked: false })
  const after = recorded('after', keeps(0.2, 0.21), { marked: false })
  const args = ['--out', join(folder, 'out4')]
  const files = (from: string): string[] =>
    ['net.1', 'net.1.control', 'net.2', 'net.2.control'].map((name) => join(from, `${name}.ndjson`))
  const { code, stdout } = await report(...files(after), '--against', ...files(before), ...args)
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^kept .*✗ worse$/m) })
  const high = await report(after, '--against', before, ...args, '--threshold', '900%', '--fail-on', 'worse')
  expect(high).toMatchObject({ code: 1, stderr: expect.stringContaining('a share is a percentage up to 100%') })

  const single = recorded('single', keeps(0.5))
  const unknown = await report(single, '--against', before, ...args, '--fail-on', 'kept')
  expect(unknown).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^kept .*\? noise unknown$/m),
    stderr: expect.stringContaining(
      'ebb: --fail-on: net has a single run, and 2 before, so a difference cannot be told'
    )
  })
  expect((await report(single, '--against', single, ...args, '--fail-on', 'worse')).code).toBe(0)
})

test('bad input is refused in one sentence, before anything is written', async () => {
  const before = recorded('before', keeps(0))
  const out = join(folder, 'never')
  for (const [args, message] of [
    [['--fail-on', 'worse'], /^ebb: --fail-on is for a comparison: add --against FILE\n$/],
    [['--threshold', '10%'], /^ebb: --threshold is for a comparison/],
    [['--against', before, '--fail-on', 'size'], /"size" is no figure: give "worse", or some of retention, /],
    [['--summary', 'x.ndjson'], /a recording would not be readable any more/],
    [['--summary', ''], /it is empty/],
    [['--against', join(folder, 'none')], /ENOENT/]
  ] as const) {
    const { code, stdout, stderr } = await report(before, ...args, '--out', out)
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
    expect(stderr).toMatch(message)
  }
  expect(existsSync(out)).toBe(false)
})
