import { isUtf8 } from 'node:buffer'
import type { Writable } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as ws from 'ws'
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  closeCodeOf,
  closeFault,
  FAULTS,
  FrameReader,
  type FrameRules,
  frameOf,
  INVALID,
  isCloseCode,
  MAX_HEADER,
  NO_CODE,
  PARTIAL,
  PING,
  PONG,
  TEXT,
  unmask,
  WHOLE,
  wordsOf,
  writeHeader
} from './frames.js'
import { masked } from './testing/server.js'

// Parts of `ws` that its types leave out.
const { Receiver, Sender } = ws as unknown as {
  Receiver: new (options: object) => Writable
  Sender: { frame(data: Buffer, options: object): Buffer[] }
}

const SERVER: FrameRules = { masked: true, allowRsv1: false, maxPayload: 0 }
const CLIENT: FrameRules = { masked: false, allowRsv1: false, maxPayload: 0 }

function read(bytes: Uint8Array, rules = SERVER, fragmented = false, received = 0) {
  const reader = new FrameReader()
  const result = reader.read(bytes, 0, bytes.length, rules, fragmented, received)
  return { result, reader, fault: result === INVALID ? reader.fault : undefined }
}

test('a whole frame: opcode, payload, where the next frame starts', () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) {
    const frame = masked(0x82, Buffer.alloc(length, 7))
    const { result, reader } = read(Buffer.concat([frame, frame]))
    expect(result).toBe(WHOLE)
    expect(reader).toMatchObject({ opcode: BINARY, fin: true, rsv1: false, length, end: frame.length })
    expect(reader.start).toBe(frame.length - length)
  }
})

test('a frame that is cut anywhere is partial, and tells its end once its header is complete', () => {
  for (const length of [0, 5, 126, 70_000]) {
    const frame = masked(0x81, Buffer.alloc(length))
    const header = frame.length - length - 4
    for (const cut of new Set([0, 1, 2, 3, header - 1, header, header + 3, frame.length - 1])) {
      if (cut >= frame.length) continue
      const { result, reader } = read(frame.subarray(0, cut))
      expect(result).toBe(PARTIAL)
      expect(reader.end, `${length} bytes, cut at ${cut}`).toBe(cut < header ? 0 : frame.length)
    }
  }
})

test('each fault has its close code', () => {
  const none = Buffer.alloc(0)
  const cases: [Buffer, keyof typeof FAULTS, Partial<FrameRules>?, boolean?][] = [
    [masked(0xc1, none), 'rsv1'],
    [masked(0xc9, none), 'rsv1', { allowRsv1: true }],
    [masked(0xc0, none), 'rsv1', { allowRsv1: true }, true],
    [masked(0xa1, none), 'rsv23', { allowRsv1: true }],
    [masked(0x91, none), 'rsv23'],
    [masked(0x80, none), 'continuation'],
    [masked(0x81, none), 'interrupted', {}, true],
    [masked(0x02, none), 'interrupted', {}, true],
    [masked(0x83, none), 'opcode'],
    [masked(0x8b, none), 'opcode'],
    [masked(0x8f, none), 'opcode'],
    [masked(0x09, none), 'fragmentedControl'],
    [masked(0x89, Buffer.alloc(126)), 'longControl'],
    [masked(0x88, Buffer.alloc(1)), 'closeLength'],
    [frameOf(TEXT, none), 'unmasked'],
    [masked(0x81, none), 'masked', { masked: false }],
    [masked(0x81, Buffer.alloc(125), undefined, 3), 'length'],
    [masked(0x81, Buffer.alloc(65_535), undefined, 9), 'length'],
    [masked(0x81, Buffer.alloc(11)), 'tooLong', { maxPayload: 10 }],
    [masked(0x80, Buffer.alloc(6)), 'tooLong', { maxPayload: 10 }, true],
    [Buffer.from([0x82, 0xff, 0, 0x20, 0, 0, 0, 0, 0, 0]), 'hugeLength']
  ]
  for (const [frame, fault, rules, fragmented] of cases) {
    const got = read(frame, { ...SERVER, ...rules }, fragmented, fragmented ? 5 : 0)
    expect(got.fault, fault).toBe(FAULTS[fault])
  }
})

test('lengths up to maxPayload and 2^53 - 1 are accepted', () => {
  expect(read(masked(0x81, Buffer.alloc(10)), { ...SERVER, maxPayload: 10 }).result).toBe(WHOLE)
  const { result, reader } = read(Buffer.from([0x82, 0xff, 0, 0x1f, 255, 255, 255, 255, 255, 255]))
  expect(result).toBe(PARTIAL)
  expect(reader.length).toBe(2 ** 53 - 1)
  // maxPayload does not apply to control frames.
  expect(read(masked(0x89, Buffer.alloc(125)), { ...SERVER, maxPayload: 10 }).result).toBe(WHOLE)
})

test('close codes', () => {
  const allowed = [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999]
  for (const code of allowed) expect(isCloseCode(code), `${code}`).toBe(true)
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535]) expect(isCloseCode(code)).toBe(false)
  expect(closeCodeOf(Buffer.from([0x0f, 0xa0]), 0, 2)).toBe(4000)
  expect(closeCodeOf(Buffer.alloc(0), 0, 0)).toBe(NO_CODE)
  expect(closeFault(Buffer.alloc(0), 0, 0)).toBeUndefined()
  // 1005 stands for "no code", so no peer may send it.
  expect(closeFault(Buffer.from([0x03, 0xed]), 0, 2)).toBe(FAULTS.closeCode)
  expect(closeFault(Buffer.from([0x03, 0xe8, 0xff]), 0, 3)).toBe(FAULTS.utf8)
  expect(closeFault(Buffer.from([0x03, 0xe8, 0xff]), 0, 3, true)).toBeUndefined()
})

test('unmask restores the payload at every offset and length, and twice gives the masked bytes', () => {
  const property = fc.property(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)),
    fc.nat(9),
    fc.boolean(),
    (payload, mask, before, aligned) => {
      const frame = masked(0x82, payload, mask)
      const bytes = Buffer.allocUnsafeSlow(before + frame.length + 3).fill(9)
      bytes.set(frame, before)
      const received = Buffer.from(bytes)
      const reader = new FrameReader()
      expect(reader.read(bytes, before, before + frame.length, SERVER, false, 0)).toBe(WHOLE)
      const words = aligned ? wordsOf(bytes) : undefined
      unmask(bytes, words, reader.start, reader.length)
      expect(bytes.subarray(reader.start, reader.end)).toEqual(Buffer.from(payload))
      expect(bytes.subarray(reader.end)).toEqual(Buffer.alloc(3, 9))
      unmask(bytes, words, reader.start, reader.length)
      expect(bytes).toEqual(received)
    }
  )
  fc.assert(property, { numRuns: 2000 })
})

test('a buffer that is not aligned has no words', () => {
  const memory = Buffer.allocUnsafeSlow(64)
  expect(wordsOf(memory.subarray(4))?.length).toBe(15)
  expect(wordsOf(memory.subarray(1))).toBeUndefined()
})

test('frames are written as Sender of ws writes them', () => {
  const property = fc.property(
    fc.constantFrom(TEXT, BINARY, PING, PONG, CLOSE),
    fc.oneof(fc.nat(300), fc.constantFrom(65_535, 65_536, 70_000)),
    fc.boolean(),
    (opcode, length, rsv1) => {
      const payload = Buffer.alloc(length, 5)
      const expected = Buffer.concat(
        Sender.frame(payload, { fin: true, rsv1, opcode, mask: false, readOnly: false }) as Buffer[]
      )
      expect(frameOf(opcode, payload, rsv1).equals(expected)).toBe(true)
      const out = Buffer.alloc(MAX_HEADER + length)
      const from = writeHeader(out, MAX_HEADER, opcode, length, rsv1)
      payload.copy(out, MAX_HEADER)
      expect(out.subarray(from).equals(expected)).toBe(true)
    }
  )
  fc.assert(property, { numRuns: 300 })
})

test('a client reads what a server has written', () => {
  const { result, reader } = read(frameOf(TEXT, Buffer.from('hello')), CLIENT)
  expect(result).toBe(WHOLE)
  expect(reader).toMatchObject({ opcode: TEXT, length: 5, end: 7 })
})

/** What a receiver reports, as text. */
type Report = string[]

/** Lets the Receiver of `ws` read the bytes in pieces. */
function withWs(bytes: Buffer, cuts: number[], maxPayload: number): Report {
  const report: Report = []
  const receiver = new Receiver({ isServer: true, maxPayload, allowSynchronousEvents: true, extensions: {} })
  const status = (error: Error): number => {
    const symbol = Object.getOwnPropertySymbols(error).find(({ description }) => description === 'status-code')
    return (error as unknown as Record<symbol, number>)[symbol as symbol] as number
  }
  let failed = false
  receiver.on('error', () => {})
  receiver.on('message', (data: Buffer, binary: boolean) => report.push(`${binary} ${data.toString('hex')}`))
  receiver.on('ping', (data: Buffer) => report.push(`ping ${data.toString('hex')}`))
  receiver.on('pong', (data: Buffer) => report.push(`pong ${data.toString('hex')}`))
  receiver.on('conclude', (code: number, reason: Buffer) => {
    report.push(`close ${code} ${reason.toString('hex')}`)
    failed = true
  })
  // The callback of _write() comes within the call, an `error` event only later.
  const write = receiver as unknown as { _write(chunk: Buffer, encoding: string, done: (error?: Error) => void): void }
  let from = 0
  for (const to of [...cuts, bytes.length]) {
    if (failed) break
    if (to <= from) continue
    write._write(Buffer.from(bytes.subarray(from, to)), 'buffer', (error) => {
      if (!error) return
      report.push(`error ${status(error)}`)
      failed = true
    })
    from = to
  }
  return report
}

/** Reads the same with {@link FrameReader}, from a buffer that grows piece by piece. */
function withReader(bytes: Buffer, cuts: number[], maxPayload: number): Report {
  const report: Report = []
  const reader = new FrameReader()
  const rules = { ...SERVER, maxPayload }
  const memory = Buffer.from(bytes)
  const words = wordsOf(memory)
  let at = 0
  let parts: Buffer[] = []
  let opcode = 0
  let size = 0
  for (const end of [...cuts, bytes.length]) {
    for (;;) {
      const result = reader.read(memory, at, end, rules, opcode !== 0, size)
      if (result === PARTIAL) break
      if (result === INVALID) return [...report, `error ${reader.fault.closeCode}`]
      unmask(memory, words, reader.start, reader.length)
      const data = Buffer.from(memory.subarray(reader.start, reader.end))
      at = reader.end
      if (reader.opcode === PING) report.push(`ping ${data.toString('hex')}`)
      else if (reader.opcode === PONG) report.push(`pong ${data.toString('hex')}`)
      else if (reader.opcode === CLOSE) {
        const fault = closeFault(data, 0, data.length)
        if (fault !== undefined) return [...report, `error ${fault.closeCode}`]
        return [...report, `close ${closeCodeOf(data, 0, data.length)} ${data.subarray(2).toString('hex')}`]
      } else {
        if (reader.opcode !== CONTINUATION) opcode = reader.opcode
        parts.push(data)
        size += data.length
        if (!reader.fin) continue
        const message = Buffer.concat(parts)
        if (opcode === TEXT && !isUtf8(message)) return [...report, `error ${FAULTS.utf8.closeCode}`]
        report.push(`${opcode === BINARY} ${message.toString('hex')}`)
        parts = []
        opcode = 0
        size = 0
      }
    }
  }
  return report
}

test('a stream of frames, right and wrong, cut anywhere, is read as Receiver of ws reads it', () => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 140 }),
    fc.string({ maxLength: 40, unit: 'binary' }).map((text) => new Uint8Array(Buffer.from(text)))
  )
  const mask = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))
  const first = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x89, 0x8a) },
    { weight: 1, arbitrary: fc.nat(255) }
  )
  const close = fc
    .tuple(fc.oneof(fc.constantFrom(1000, 1001, 1005, 3000), fc.nat(65_535)), payload, mask)
    .map(([code, reason, key]) => {
      const data = Buffer.concat([Buffer.from([code >> 8, code & 255]), reason]).subarray(0, 125)
      return masked(0x88, data, key)
    })
  const frame = fc.oneof(
    { weight: 12, arbitrary: fc.tuple(first, payload, mask).map(([byte, data, key]) => masked(byte, data, key)) },
    { weight: 1, arbitrary: close },
    { weight: 1, arbitrary: payload.map((data) => frameOf(BINARY, data)) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes)) }
  )
  const property = fc.property(
    fc.array(frame, { minLength: 1, maxLength: 8 }),
    fc.array(fc.nat(400), { maxLength: 6 }),
    fc.constantFrom(0, 0, 100, 150),
    (frames, positions, maxPayload) => {
      const bytes = Buffer.concat(frames)
      const cuts = positions.filter((cut) => cut < bytes.length).sort((a, b) => a - b)
      const reader = withReader(bytes, cuts, maxPayload)
      // ws accepts a length that is not in its shortest form. Everything before it must be the same.
      const isLong = reader.at(-1) === 'error 1002' && hasLongLength(bytes)
      const expected = withWs(bytes, cuts, maxPayload)
      if (isLong) expect(expected.slice(0, reader.length - 1)).toEqual(reader.slice(0, -1))
      else expect(reader).toEqual(expected)
    }
  )
  fc.assert(property, { numRuns: 5000 })
})

/** Whether the reader refuses these bytes because of a length that is not in its shortest form. */
function hasLongLength(bytes: Buffer): boolean {
  for (let at = 0; at + 2 < bytes.length; at++) {
    const length = (bytes[at + 1] as number) & 127
    if (length === 126 && bytes.length >= at + 4 && bytes.readUInt16BE(at + 2) < 126) return true
    if (length === 127 && bytes.length >= at + 10 && bytes.readBigUInt64BE(at + 2) < 65_536n) return true
  }
  return false
}
