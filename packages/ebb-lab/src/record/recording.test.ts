import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RecordError } from '../units/errors.js'
import { parseRecording, readRecording } from './read.js'
import { FORMAT, type Header, type Line, type Recording, type RecordingEvent, type Sample } from './recording.js'
import { RecordingWriter, toLines, writeRecording } from './write.js'

// Generators of random recordings.

const bytes = fc.nat({ max: 2 ** 50 })
const count = fc.nat()
const text = fc.string({ unit: 'binary', maxLength: 40 })
const ms = fc.double({ min: 0, max: 1e9, noNaN: true, noDefaultInfinity: true }).map((value) => value + 0)
const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null })
const view = { system: bytes, inuse: bytes, released: bytes, objects: orNull(count) }

const anyHeader: fc.Arbitrary<Header> = fc.record({
  type: fc.constant('header' as const),
  format: fc.constant(FORMAT as typeof FORMAT),
  name: text,
  role: fc.constantFrom('main' as const, 'control' as const),
  pid: count,
  command: orNull(fc.array(text, { maxLength: 4 })),
  runtime: orNull(fc.record({ name: text, version: orNull(text) })),
  startedAt: text,
  machine: fc.record({ cpus: count, memory: bytes, arch: text }),
  kernel: text,
  every: fc.record({ status: ms, smaps: ms })
})

const anySample = (t: number): fc.Arbitrary<Sample> =>
  fc.record({
    type: fc.constant('sample' as const),
    t: fc.constant(t),
    resident: bytes,
    anonymous: bytes,
    file: bytes,
    private: orNull(bytes),
    proportional: orNull(bytes),
    threads: count,
    descriptors: orNull(count),
    cpu: ms,
    kernel: orNull(bytes)
  })

const anyEvent = (t: number): fc.Arbitrary<RecordingEvent> => {
  const base = { type: fc.constant('event' as const), t: fc.constant(t) }
  const kind = <E extends string>(event: E) => ({ ...base, event: fc.constant(event) })
  return fc.oneof<fc.Arbitrary<RecordingEvent>[]>(
    fc.record({ ...kind('pulse'), index: count, size: fc.constantFrom('big' as const, 'small' as const), n: count }),
    fc.record({ ...kind('connected'), index: count, connected: count, failed: count }),
    fc.record({ ...kind('closing'), index: count }),
    fc.record({ ...kind('closed'), index: count, lost: count }),
    fc.record({ ...kind('cycle'), cycle: count, clients: count, ...view }),
    fc.record({ ...kind('runtime'), ...view }),
    fc.record({ ...kind('release'), before: bytes, after: bytes, ms, pauseMs: orNull(ms) }),
    fc.record({ ...kind('line'), text }),
    fc.record({ ...kind('note'), text }),
    fc.record({ ...kind('note'), code: text, text, lines: count, answers: count, missed: count })
  )
}

const anyEnd = (t: number): fc.Arbitrary<RecordingEvent> =>
  fc.record({
    type: fc.constant('event' as const),
    t: fc.constant(t),
    event: fc.constant('end' as const),
    reason: fc.constantFrom('exited' as const, 'duration' as const, 'stopped' as const),
    exitCode: orNull(fc.integer()),
    signal: orNull(text)
  })

/** Generates recordings, about half of them without the `end` event. No two lines have the same time. */
const anyRecording: fc.Arbitrary<Recording> = fc
  .record({ header: anyHeader, times: fc.uniqueArray(ms, { maxLength: 12 }), complete: fc.boolean() })
  .chain(({ header, times, complete }) => {
    times.sort((a, b) => a - b)
    const lines = times.map((t, i) =>
      complete && i === times.length - 1
        ? anyEnd(t)
        : fc.oneof<fc.Arbitrary<Sample | RecordingEvent>[]>(anySample(t), anyEvent(t))
    )
    return fc.tuple(...lines).map((lines): Recording => {
      const samples = lines.filter((line) => line.type === 'sample')
      const events = lines.filter((line) => line.type === 'event')
      const isComplete = events.at(-1)?.event === 'end'
      return { header, samples, events, complete: isComplete, notes: [] }
    })
  })

let folder: string
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))
const file = (name: string) => path.join(folder, name)

const header: Header = {
  type: 'header',
  format: FORMAT,
  name: 'Größe 🦀',
  role: 'main',
  pid: 4242,
  command: ['node', 'server.js'],
  runtime: { name: 'node', version: '20.20.2' },
  startedAt: '2024-01-01T00:00:00.000Z',
  machine: { cpus: 2, memory: 8e9, arch: 'x64' },
  kernel: 'Linux 6.1',
  every: { status: 100, smaps: 1000 }
}
const sample = (t: number): Sample => ({
  type: 'sample',
  t,
  resident: 40_960,
  anonymous: 8192,
  file: 4096,
  private: null,
  proportional: null,
  threads: 11,
  descriptors: 20,
  cpu: 10,
  kernel: 0
})
const textOf = (lines: object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')
const without = ({ notes, ...rest }: Recording) => rest

async function failure(promise: Promise<unknown>): Promise<RecordError> {
  const error = await promise.then(
    () => null,
    (error: unknown) => error
  )
  if (error instanceof RecordError) return error
  throw error ?? new Error('it did not fail')
}

describe('parseRecording', () => {
  test('returns what was written, in pieces of any size', async () => {
    await fc.assert(
      fc.asyncProperty(anyRecording, fc.integer({ min: 1, max: 50 }), async (recording, size) => {
        const bytes = Buffer.from(textOf([...toLines(recording)]))
        async function* pieces() {
          for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
        }
        const read = await parseRecording(pieces())
        expect(without(read)).toEqual(JSON.parse(JSON.stringify(without(recording))))
        expect(read.notes).toHaveLength(recording.complete ? 0 : 1)
      })
    )
  })

  test('reads a file back', async () => {
    await fc.assert(
      fc.asyncProperty(anyRecording, async (recording) => {
        writeRecording(file('round.ndjson'), recording)
        const read = await readRecording(file('round.ndjson'))
        expect(without(read)).toEqual(JSON.parse(JSON.stringify(without(recording))))
      }),
      { numRuns: 30 }
    )
  })

  test('reads up to the last whole line of a file that was cut off anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(anyRecording, async (recording) => {
        const lines = [...toLines(recording)]
        const bytes = Buffer.from(textOf(lines))
        const whole = Buffer.byteLength(textOf(lines.slice(0, -1)))
        for (let end = whole; end < bytes.length; end++) {
          const cut = bytes.subarray(0, end)
          if (lines.length === 1) {
            expect((await failure(parseRecording(cut))).code).toBe('ERR_RECORDING_INVALID')
            continue
          }
          const read = await parseRecording(cut)
          expect(read.samples.length + read.events.length + 1).toBe(lines.length - 1)
          expect(read.complete).toBe(false)
          expect(read.notes).toHaveLength(1)
          expect(read.notes[0]).toMatch(/^cut off /)
        }
      }),
      { numRuns: 30 }
    )
  })

  test('reads a file that was cut off inside a character, or just before a newline', async () => {
    const line = { type: 'event', t: 2, event: 'line', text: '🦀' }
    const bytes = Buffer.from(textOf([header, sample(1), line]))
    const inside = bytes.subarray(0, bytes.indexOf(0x80, textOf([header, sample(1)]).length))
    for (const cut of [inside, bytes.subarray(0, -1)]) {
      const read = await parseRecording(cut)
      expect(read.samples).toHaveLength(1)
      expect(read.events).toHaveLength(0)
      expect(read.notes).toEqual(['cut off inside line 3: read up to line 2'])
    }
    expect((await parseRecording(bytes)).events).toEqual([line])
  })

  test('notes that a recording has no end', async () => {
    const read = await parseRecording(textOf([header, sample(1)]))
    expect(read.complete).toBe(false)
    expect(read.notes).toEqual(['cut off after line 2, or still being written: it has no end'])
  })

  test('skips what a later version of the same format may add, with notes', async () => {
    const end = { type: 'event', t: 9, event: 'end', reason: 'stopped', exitCode: null, signal: null }
    const text = textOf([
      { ...header, colour: 'red' },
      { ...sample(1), swap: 1 },
      { ...sample(2), swap: 2 },
      { type: 'event', t: 3, event: 'eclipse', of: 'the sun' },
      { type: 'remark', text: 'x' },
      end
    ])
    const read = await parseRecording(text)
    expect(read.header).toEqual(header)
    expect(read.samples).toEqual([sample(1), sample(2)])
    expect(read.events).toEqual([end])
    expect(read.complete).toBe(true)
    expect(read.notes).toEqual([
      'ignored the unknown field "colour" of a header in line 1',
      'ignored the unknown field "swap" of a sample in 2 lines, the first of them line 2',
      'skipped the unknown event "eclipse" in line 4',
      'skipped the unknown type "remark" in line 5'
    ])
  })

  test('refuses a newer format, and names its number', async () => {
    const error = await failure(
      parseRecording(textOf([{ ...header, format: FORMAT + 1, machine: 'moon' }]), 'x.ndjson')
    )
    expect(error.code).toBe('ERR_RECORDING_FORMAT')
    expect(error.message).toContain(`x.ndjson has format ${FORMAT + 1}`)
  })

  test.each([
    ['nothing', '', 'x is empty: nothing was recorded in it'],
    ['half a header', '{"type":"hea', 'x is cut off inside its first line: there is nothing in it to read'],
    ['text', 'hello\nworld\n', 'x is not a recording: its first line is not the header of one'],
    ['another JSON', '[1]\n', 'x is not a recording: its first line is not the header of one'],
    ['no header', textOf([sample(1)]), 'x is not a recording: its first line is not the header of one'],
    [
      'a bad line',
      `${textOf([header])}{"type":\n${textOf([sample(1)])}`,
      'x:2 is not JSON: delete the line to read the rest'
    ],
    ['a number', `${textOf([header])}7\n`, 'x:2 is not a JSON object'],
    ['two headers', textOf([header, header]), 'x:2 is a second header: keep every recording in a file of its own'],
    ['no type', textOf([header, { t: 1 }]), 'x:2 has no type'],
    ['time that falls', textOf([header, sample(2), sample(1)]), 'x:3 goes back in time, from 2 ms to 1 ms']
  ])('refuses %s with one sentence', async (_, text, message) => {
    const error = await failure(parseRecording(text, 'x'))
    expect(error.message).toBe(message)
    expect(error.code).toBe('ERR_RECORDING_INVALID')
  })

  test('names the line and the field of an invalid value', async () => {
    const text = textOf([header, sample(1), { ...sample(2), resident: -1 }, sample(3)])
    expect((await failure(parseRecording(text, 'x'))).message).toMatch(/^x:3 is not a valid sample: resident: /)
    const event = textOf([header, { type: 'event', t: 1, event: 'pulse', index: 0, size: 'huge', n: 1 }])
    expect((await failure(parseRecording(event, 'x'))).message).toMatch(/^x:2 is not a valid event: size: /)
    const notText = Buffer.concat([Buffer.from(textOf([header])), Buffer.from([0xff, 0x0a])])
    expect((await failure(parseRecording(notText, 'x'))).message).toBe('x:2 is not UTF-8 text')
  })

  test('refuses random bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        expect(['ERR_RECORDING_INVALID', 'ERR_RECORDING_FORMAT']).toContain((await failure(parseRecording(bytes))).code)
      })
    )
  })

  test('reads lines that end in CR LF, and skips empty lines', async () => {
    const text = textOf([header, sample(1)]).replaceAll('\n', '\r\n\r\n')
    expect((await parseRecording(text)).samples).toEqual([sample(1)])
  })
})

describe('readRecording', () => {
  test.each([
    ['a path without a file', () => file('none'), 'ENOENT'],
    ['a directory', () => folder, 'EISDIR'],
    ['a device that never ends', () => '/dev/zero', 'ERR_RECORDING_INVALID']
  ])('rejects %s with one sentence', async (_, at, code) => {
    const error = await failure(readRecording(at()))
    expect(error.code).toBe(code)
    expect(error.message).toContain(at())
    expect(error.message).not.toContain('\n')
  })
})

describe('RecordingWriter', () => {
  test('hands every line to the kernel before write() returns', () => {
    const writer = new RecordingWriter(file('live.ndjson'))
    const lines: Line[] = [header, sample(1), { type: 'event', t: 2, event: 'line', text: 'a\nb🦀' }]
    for (let i = 0; i < lines.length; i++) {
      writer.write(lines[i] as Line)
      expect(fs.readFileSync(writer.path, 'utf8')).toBe(textOf(lines.slice(0, i + 1)))
    }
    writer.close()
    writer.close()
    expect(() => writer.write(sample(3))).toThrow('closed')
  })

  test('replaces an existing file', async () => {
    fs.writeFileSync(file('old.ndjson'), 'x'.repeat(10_000))
    writeRecording(file('old.ndjson'), { header, samples: [], events: [], complete: false, notes: [] })
    expect((await readRecording(file('old.ndjson'))).header).toEqual(header)
  })

  test.each([
    ['a directory', () => folder, 'EISDIR', 'it is a directory', ''],
    [
      'a path in a missing directory',
      () => file('no/where'),
      'ENOENT',
      'no such file or directory',
      '; make the directory of the file first'
    ],
    ['a path below a file', () => '/etc/passwd/x', 'ENOTDIR', 'a part of the path is not a directory', '']
  ])('refuses %s with one sentence', (_, at, code, reason, advice) => {
    expect(() => new RecordingWriter(at())).toThrow(
      expect.objectContaining({
        code,
        syscall: 'open',
        message: `cannot write the recording to ${at()}: ${reason} (${code})${advice}`
      })
    )
  })

  test.skipIf(process.geteuid?.() !== 0)('refuses a path without permission with one sentence (as root)', () => {
    process.seteuid?.(65534)
    try {
      expect(() => new RecordingWriter('/etc/ebb.ndjson')).toThrow(
        expect.objectContaining({ code: 'EACCES', message: expect.stringContaining('permission denied') })
      )
    } finally {
      process.seteuid?.(0)
    }
  })

  test('throws one sentence on a full disk, and leaves no descriptor open', () => {
    const before = fs.readdirSync('/proc/self/fd').length
    const writer = new RecordingWriter('/dev/full')
    expect(() => writer.write(header)).toThrow(
      expect.objectContaining({
        code: 'ENOSPC',
        syscall: 'write',
        message: 'writing /dev/full failed: no space left on the device (ENOSPC)'
      })
    )
    expect(() => writer.write(header)).toThrow('closed')
    expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  })
})
