import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import {
  BOX_HEADER,
  boxOf,
  end,
  listening,
  run,
  sample,
  server,
  spikes,
  twoVariants
} from '../../report/testing/box.js'
import { isBox, parseBox, readBox } from './read.js'

/** Returns the text of a recording with these lines. */
function text(lines: readonly object[], header: object = BOX_HEADER): string {
  return [header, ...lines].map((line) => `${JSON.stringify(line)}\n`).join('')
}

const LINES = [
  ...spikes('plain', 0, 0, 1, 2),
  ...spikes('ebb', 20_000, 2, 0, 2),
  { type: 'end' as const, t: 30_000, reason: 'done' as const }
]

test('reads what was recorded, in pieces of any size', async () => {
  const whole = text(LINES)
  const box = boxOf(LINES)
  expect(await parseBox(whole)).toEqual(box)
  for (const size of [1, 7, 4096]) {
    const pieces = (async function* () {
      for (let i = 0; i < whole.length; i += size) yield whole.slice(i, i + size)
    })()
    if (size > 1 || whole.length < 1e6) expect(await parseBox(pieces)).toEqual(box)
  }
})

test('gives each server a recording of its own, with times from the beginning of its run', () => {
  const box = twoVariants()
  const [, ebb] = box.runs
  const recording = ebb?.servers[1]?.recording
  expect(recording?.samples[0]?.t).toBe(0)
  expect(recording?.header).toMatchObject({
    name: 'server 2',
    role: 'main',
    pid: 105,
    startedAt: '2026-03-14T09:27:13.589Z'
  })
  expect(recording?.complete).toBe(true)
  expect(ebb?.machine).toHaveLength(130)
})

test('reads a recording that was cut off anywhere, with a note', async () => {
  const whole = text(LINES)
  const lines = whole.split('\n').length - 1
  for (const at of [whole.indexOf('\n') + 1, 5000, 50_000, whole.length - 5]) {
    const box = await parseBox(whole.slice(0, at))
    expect(box.complete).toBe(false)
    expect(box.notes).toHaveLength(1)
    expect(box.notes[0]).toMatch(/^cut off (inside|after) line \d+/)
    expect(box.runs.filter(({ complete }) => complete).length).toBe(at > whole.indexOf('"variant":"ebb"') ? 1 : 0)
  }
  expect(lines).toBeGreaterThan(100)
  await expect(parseBox(whole.slice(0, 10))).rejects.toThrow('cut off inside its first line')
  await expect(parseBox('')).rejects.toThrow('box is empty: nothing was recorded in it')
})

const ok = [run(0, 'x'), server(0, 0, 'a'), listening(0, 0)]

test.each<[string, object[], object | undefined, RegExp]>([
  ['a recording of a server', [], { type: 'header', format: 1 }, /^box is not a recording: its first line/],
  [
    'a newer format',
    [],
    { ...BOX_HEADER, format: 2 },
    /^box has format 2, and this version of ebb reads formats up to 1/
  ],
  ['a header without its machine', [], { ...BOX_HEADER, machine: undefined }, /^box:1 is not a valid box: machine: /],
  ['a second box', [BOX_HEADER], undefined, /^box:2 is a second box/],
  ['a server before any run', [server(0, 0, 'a')], undefined, /^box:2 is a server outside of any run/],
  [
    'a server number that is used twice',
    [...ok, server(1, 0, 'b')],
    undefined,
    /^box:5 has the number 0 of another server/
  ],
  [
    'a sample of an unknown server',
    [...ok, sample(1, 7, 1)],
    undefined,
    /^box:5 names server 7, which this run does not have/
  ],
  [
    'a sample before it listens',
    [run(0, 'x'), server(0, 0, 'a'), sample(1, 0, 1)],
    undefined,
    /^box:4 is a sample of server 0, which does not listen/
  ],
  ['an event of an earlier run', [...ok, run(1, 'y'), end(2, 0)], undefined, /^box:6 names server 0/],
  [
    'time that goes back',
    [...ok, sample(5, 0, 1), sample(4, 0, 1)],
    undefined,
    /^box:6 goes back in time, from 5 ms to 4 ms/
  ],
  ['a size below zero', [...ok, sample(5, 0, -1)], undefined, /^box:5 is not a valid sample: /],
  ['a line without a type', [{ t: 1 }], undefined, /^box:2 has no type/],
  ['a line that is no object', [[]], undefined, /^box:2 is not a JSON object/]
])('refuses %s, and names the line', async (_, lines, header, sentence) => {
  await expect(parseBox(text(lines, header))).rejects.toThrow(sentence)
})

test('skips what a newer version may write, with notes', async () => {
  const later = [
    ...ok,
    { type: 'weather', t: 1 },
    { type: 'event', t: 2, server: 0, event: 'sneeze' },
    { ...sample(3, 0, 1), colour: 'red' }
  ]
  const box = await parseBox(text([...later, { type: 'end', t: 9, reason: 'done' }]))
  expect(box.runs[0]?.servers[0]?.recording?.samples).toHaveLength(1)
  expect(box.notes).toEqual([
    'skipped the unknown type "weather" in line 5',
    'skipped the unknown event "sneeze" in line 6',
    'ignored the unknown field "colour" of a sample in line 7'
  ])
})

test('recognizes the file of a box, and rejects files that cannot be read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ebb-box-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'box.ndjson')
  writeFileSync(file, text(LINES))
  expect(await isBox(file)).toBe(true)
  expect(await readBox(file)).toEqual(boxOf(LINES))
  writeFileSync(join(directory, 'other'), '{"type":"header"}\n')
  expect(await isBox(join(directory, 'other'))).toBe(false)
  await expect(isBox(join(directory, 'none'))).rejects.toThrow(
    /^cannot read the recording .*: no such file or directory/
  )
  await expect(readBox(directory)).rejects.toThrow(/it is a directory \(EISDIR\)$/)
})
