/**
 * Random steps of a client and of the server, on connections that are parked and woken at random: what arrives is what
 * a model says, byte by byte. `ws` itself, which never parks, is played the same steps, and so checks the model.
 *
 * `EBB_STEPS` is the number of steps for each server.
 */
import net from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { frameOf } from './frames.js'
import { close, masked, REQUEST } from './testing/server.js'
import {
  CLOSE_NOW,
  CLOSE_NOW_CODE,
  coreTarget,
  type Peer,
  type Seen,
  type Target,
  wsTarget
} from './testing/targets.js'

/** A step while the connection is open. */
type Step =
  | { name: 'message'; text: boolean; length: number; fragments: number[]; between: ('ping' | 'pong')[] }
  | { name: 'ping' | 'pong'; length: number }
  /** The server sends a message. */
  | { name: 'push'; text: boolean; length: number }
  | { name: 'server ping'; length: number }
  /** The client stops reading, and the server sends more than the kernel takes; the client reads again. */
  | { name: 'stall' | 'read' }
  | { name: 'park' | 'wake' | 'turn' }

/** How the connection ends. */
type End =
  | { name: 'client closes' | 'server closes'; code: number | undefined; reason: string; more: boolean }
  | { name: 'server closes in a listener' | 'client ends' | 'client resets' | 'server terminates' }
  /** The client breaks the protocol. */
  | { name: 'fault'; fault: number; incomplete: boolean }

const lengths = fc.oneof({ weight: 4, arbitrary: fc.nat(130) }, { weight: 2, arbitrary: fc.nat(3000) }, fc.nat(140_000))

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      name: fc.constant('message' as const),
      text: fc.boolean(),
      length: lengths,
      fragments: fc.oneof(fc.constant<number[]>([]), fc.array(fc.nat(1000), { maxLength: 3 })),
      between: fc.array(fc.constantFrom('ping' as const, 'pong' as const), { maxLength: 2 })
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({ name: fc.constantFrom('ping' as const, 'pong' as const), length: fc.nat(125) })
  },
  { weight: 3, arbitrary: fc.record({ name: fc.constant('push' as const), text: fc.boolean(), length: lengths }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('server ping' as const), length: fc.nat(125) }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('park' as const, 'wake' as const, 'turn' as const) }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constantFrom('stall' as const, 'read' as const) }) }
)

/** Frames that are wrong, with the code of the close frame that answers them. */
const FAULTS: [bytes: Buffer, code: number][] = [
  [masked(0x81, Buffer.from([0xc3, 0x28])), 1007],
  [masked(0x83, 'reserved'), 1002],
  [masked(0x8b, ''), 1002],
  [masked(0xc1, 'rsv1'), 1002],
  [masked(0xa2, 'rsv2'), 1002],
  [masked(0x09, 'ping in fragments'), 1002],
  [masked(0x89, 'x'.repeat(126)), 1002],
  [masked(0x88, 'x'), 1002],
  [close(1005), 1002],
  [close(999), 1002],
  [masked(0x88, Buffer.from([3, 232, 0xff])), 1007],
  [Buffer.from([0x81, 1, 97]), 1002],
  [Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]), 1009],
  [Buffer.from([0x82, 0xff, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1009]
]
/** A continuation without a message, and a message that begins in the middle of another one. */
const STRAY = masked(0x80, 'stray')
const INTERRUPTS = masked(0x81, 'interrupts')

const codes = fc.option(fc.constantFrom(1000, 1001, 1011, 1014, 3000, 4999), { nil: undefined })

const end: fc.Arbitrary<End> = fc.oneof(
  fc.record({
    name: fc.constantFrom('client closes' as const, 'server closes' as const),
    code: codes,
    reason: fc.constantFrom('', 'bye', 'ö'.repeat(61)),
    more: fc.boolean()
  }),
  fc.record({
    name: fc.constantFrom(
      'server closes in a listener' as const,
      'client ends' as const,
      'client resets' as const,
      'server terminates' as const
    )
  }),
  fc.record({ name: fc.constant('fault' as const), fault: fc.nat(FAULTS.length), incomplete: fc.boolean() })
)

interface Script {
  steps: Step[]
  end: End
  /** Sizes of the client's writes. */
  cuts: number[]
  mask: number[]
  /** Whether the connection is parked before each step, if nothing is in progress. */
  sleepy: boolean
}

const script: fc.Arbitrary<Script> = fc.record({
  steps: fc.array(step, { maxLength: 40, size: 'max' }),
  end,
  cuts: fc.oneof(
    fc.constant<number[]>([]),
    fc.array(fc.nat(2000), { maxLength: 8 }),
    fc.array(fc.nat(12), { minLength: 1, maxLength: 4 })
  ),
  mask: fc.oneof(fc.constant<number[]>([0, 0, 0, 0]), fc.array(fc.nat(255), { minLength: 4, maxLength: 4 })),
  sleepy: fc.boolean()
})

/** A payload that differs in each message. Text is valid UTF-8, with characters of 1 to 4 bytes. */
function payload(number: number, length: number, text: boolean): Buffer {
  if (!text) return Buffer.from(Array.from({ length }, (_, i) => (number * 31 + i * 7 + (i >> 8)) & 255))
  const whole = Buffer.alloc(length, `${number} aä€😀`)
  // Cut between characters.
  let at = length
  while (at > 0 && ((whole[at - 1] as number) & 0x80) !== 0) at--
  return whole.subarray(0, at)
}

const PUSHED = Buffer.from('pushed ')

/** A client that writes bytes in pieces, and keeps what it reads. */
class RawClient {
  readonly socket: net.Socket
  readonly #parts: Buffer[] = []
  closed = false
  #cut = 0
  readonly #cuts: number[]

  constructor(port: number, cuts: number[]) {
    this.#cuts = cuts
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.socket.on('data', (bytes: Buffer) => this.#parts.push(bytes))
    this.socket.on('end', () => {
      this.closed = true
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  /** Everything that was received after the response. */
  get received(): Buffer {
    const all = Buffer.concat(this.#parts)
    return all.subarray(all.indexOf('\r\n\r\n') + 4)
  }

  get length(): number {
    return this.#parts.reduce((sum, part) => sum + part.length, 0)
  }

  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const size = this.#cuts.length === 0 ? bytes.length : 1 + (this.#cuts[this.#cut++ % this.#cuts.length] as number)
      // No more than some hundred writes for a long message.
      const piece = bytes.subarray(at, at + Math.max(size, Math.ceil(bytes.length / 300)))
      this.socket.write(piece)
      at += piece.length
      if (this.#cut % 3 === 0) await turn()
    }
  }
}

/** A frame of a server. */
interface Received {
  opcode: number
  payload: Buffer
}

/** Splits what a server has sent. Each frame must be exactly as `frameOf()` makes it. */
function split(bytes: Buffer): Received[] {
  const frames: Received[] = []
  for (let at = 0; at < bytes.length; ) {
    const second = bytes[at + 1] as number
    const length =
      second < 126 ? second : second === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    const start = at + (second < 126 ? 2 : second === 126 ? 4 : 10)
    const opcode = (bytes[at] as number) & 15
    const content = bytes.subarray(start, start + length)
    if (!frameOf(opcode, content).equals(bytes.subarray(at, start + length))) {
      throw new Error(`wrong frame at ${at}: ${bytes.toString('hex', at, at + 20)}`)
    }
    frames.push({ opcode, payload: content })
    at = start + length
  }
  return frames
}

const show = (name: string, bytes: Buffer): string => `${name} ${bytes.length} ${bytes.toString('latin1')}`
const showSeen = (seen: Seen): string => {
  if (seen.name === 'fault') return `fault ${seen.code}`
  return seen.name === 'close' ? `close ${seen.code} ${seen.reason}` : show(seen.name, seen.payload)
}
const showFrame = ({ opcode, payload }: Received): string => show(String(opcode), payload)

/** One connection: plays a script, and knows what must come of it. */
class Play {
  readonly #client: RawClient
  readonly #peer: Peer
  readonly #script: Script

  /** What the server must see. */
  readonly expected: string[] = []
  /** Frames that answer those of the client. */
  readonly #answers: string[] = []
  /** Frames that the server sends of its own. */
  readonly #pushes: string[] = []
  /** What became of the callbacks of `send()`. */
  readonly #called: (number | string)[] = []
  #sends = 0
  #number = 0
  /** The close frame of the server. */
  #closeFrame: string | undefined
  #stalled = false
  #wasStalled = false
  /** Whether the client has not read everything when it goes away. */
  #partly = false
  parked = 0
  queued = 0

  private constructor(client: RawClient, peer: Peer, script: Script) {
    this.#client = client
    this.#peer = peer
    this.#script = script
  }

  static async open(target: Target, script: Script): Promise<Play> {
    const client = new RawClient(target.port, script.cuts)
    const accepted = target.accept()
    client.socket.write(REQUEST)
    return new Play(client, await accepted, script)
  }

  async run(): Promise<void> {
    for (const step of this.#script.steps) {
      if (this.#script.sleepy) await this.#park()
      await this.#step(step)
      if (this.#peer.isParked()) this.parked++
      if (this.#peer.isParked() && this.#peer.queued() > 0) this.queued++
    }
    await this.#end(this.#script.end)
  }

  #frame(first: number, bytes: Buffer): Buffer {
    return masked(first, bytes, this.#script.mask)
  }

  async #step(step: Step): Promise<void> {
    const number = this.#number++
    if (step.name === 'message') await this.#client.write(this.#message(step, number))
    else if (step.name === 'ping' || step.name === 'pong') {
      await this.#client.write(this.#control(step.name, payload(number, step.length, false)))
    } else if (step.name === 'push') this.#push(payload(number, step.length, step.text), step.text)
    else if (step.name === 'server ping') {
      const bytes = payload(number, step.length, false)
      this.#pushes.push(show('9', bytes))
      this.#peer.ping(bytes)
    } else if (step.name === 'stall') this.#stall()
    else if (step.name === 'read') {
      this.#stalled = false
      this.#client.socket.resume()
    } else if (step.name === 'park') await this.#park()
    else if (step.name === 'wake') this.#peer.wake()
    else await turn()
  }

  /** Parks the connection, unless it stays busy. */
  async #park(): Promise<void> {
    for (let tries = 0; tries < 3 && !this.#peer.isParked(); tries++) {
      await turn()
      this.#peer.park()
    }
  }

  /** @param answered whether the server sends the message back */
  #message(step: Step & { name: 'message' }, number: number, answered = true): Buffer {
    const bytes = payload(number, step.length, step.text)
    const cuts = [0, ...step.fragments.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length]
    const frames: Buffer[] = []
    for (const [i, end] of cuts.slice(1).entries()) {
      const fin = i === cuts.length - 2 ? 0x80 : 0
      frames.push(this.#frame(fin | (i > 0 ? 0 : step.text ? 1 : 2), bytes.subarray(cuts[i], end)))
      const between = step.between[i]
      if (fin === 0 && between !== undefined) {
        frames.push(this.#control(between, payload(number + i, 9, false), answered))
      }
    }
    this.expected.push(show(step.text ? 'text' : 'binary', bytes))
    if (answered) this.#answers.push(show(step.text ? '1' : '2', bytes))
    return Buffer.concat(frames)
  }

  #control(name: 'ping' | 'pong', bytes: Buffer, answered = true): Buffer {
    this.expected.push(show(name, bytes))
    if (name === 'ping' && answered) this.#answers.push(show('10', bytes))
    return this.#frame(name === 'ping' ? 0x89 : 0x8a, bytes)
  }

  #push(bytes: Buffer, text: boolean): void {
    const tagged = Buffer.concat([PUSHED, bytes])
    this.#pushes.push(show(text ? '1' : '2', tagged))
    const number = this.#sends++
    this.#peer.send(tagged, !text, (error) => this.#called.push(error ? `failed ${number}` : number))
  }

  #stall(): void {
    if (this.#stalled) return
    this.#stalled = this.#wasStalled = true
    this.#client.socket.pause()
    for (let sent = 0; this.#peer.queued() === 0 && sent < 100; sent++) this.#push(Buffer.alloc(200_000, sent), false)
  }

  /** Waits until the server has seen everything. */
  async #settled(): Promise<void> {
    while (this.#peer.seen.length < this.expected.length) await turn()
  }

  async #end(how: End): Promise<void> {
    const client = this.#client
    if (how.name === 'client closes') {
      await client.write(this.#closeBytes(how.code, how.reason))
      if (how.more) await client.write(masked(0x81, 'not seen'))
      this.#expectClose(how.code ?? 1005, how.reason)
      this.#expectFrame(how.code, how.reason)
    } else if (how.name === 'server closes') {
      await this.#settled()
      this.#peer.close(how.code, how.code === undefined ? '' : how.reason)
      this.#expectFrame(how.code, how.reason)
      await this.#closeByServer(how.code, how.more)
    } else if (how.name === 'server closes in a listener') {
      await this.#settled()
      const bytes = Buffer.from(`${CLOSE_NOW}!`)
      this.expected.push(show('text', bytes))
      this.#answers.push(show('1', bytes))
      this.#expectFrame(CLOSE_NOW_CODE, '')
      const more = this.#message({ name: 'message', text: true, length: 5, fragments: [], between: [] }, 0, false)
      await client.write(
        Buffer.concat([this.#frame(0x81, bytes), more, this.#control('ping', Buffer.from('x'), false)])
      )
      await this.#closeByServer(CLOSE_NOW_CODE, false)
    } else if (how.name === 'fault') await this.#fault(how)
    else await this.#abort(how.name)
    client.socket.resume()
    while (!client.closed) await turn()
    // The client ends, too.
    client.socket.end()
    while (!this.#peer.seen.some(({ name }) => name === 'close')) await turn()
    client.socket.destroy()
    for (let turns = 0; turns < 3; turns++) await turn()
  }

  #closeBytes(code: number | undefined, reason: string): Buffer {
    if (code === undefined) return this.#frame(0x88, Buffer.alloc(0))
    return this.#frame(0x88, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]))
  }

  #expectClose(code: number, reason: string): void {
    this.expected.push(`close ${code} ${code === 1005 ? '' : reason}`)
  }

  /** The server sends a close frame. */
  #expectFrame(code: number | undefined, reason: string): void {
    const bytes =
      code === undefined ? Buffer.alloc(0) : Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)])
    this.#closeFrame = show('8', bytes)
  }

  /** What the client still sends arrives; then it answers the close frame. */
  async #closeByServer(code: number | undefined, more: boolean): Promise<void> {
    const step = { name: 'message' as const, text: true, length: 5, fragments: [2], between: ['ping' as const] }
    if (more) await this.#client.write(this.#message(step, 1, false))
    await this.#client.write(this.#closeBytes(code, 'answered'))
    this.#expectClose(code ?? 1005, 'answered')
  }

  async #fault({ fault, incomplete }: End & { name: 'fault' }): Promise<void> {
    const [bytes, code] = FAULTS[fault] ?? [incomplete ? INTERRUPTS : STRAY, 1002]
    const begins = incomplete ? [this.#frame(0x01, Buffer.from('incomplete'))] : []
    await this.#client.write(Buffer.concat([...begins, bytes, masked(0x81, 'not seen')]))
    // Whatever is wrong inside a new message, it is wrong to begin one.
    const isMessage = [0x81, 0x82].includes(bytes[0] as number)
    const answer = incomplete && isMessage ? 1002 : code
    this.expected.push(`fault ${answer}`)
    this.#expectFrame(answer, '')
    this.#expectClose(1006, '')
  }

  async #abort(how: 'client ends' | 'client resets' | 'server terminates'): Promise<void> {
    await this.#settled()
    this.#expectClose(1006, '')
    if (how === 'client ends') this.#client.socket.end()
    else {
      // A part of what the server has sent may get lost.
      this.#partly = true
      if (how === 'client resets') this.#client.socket.resetAndDestroy()
      else this.#peer.terminate()
    }
  }

  /** Compares everything that has happened with what must have happened. @param latestPong only it must be answered */
  check(latestPong: boolean): void {
    expect(this.#peer.seen.map(showSeen)).toEqual(this.expected)
    const called = [...this.#called]
    expect(called).toHaveLength(this.#sends)
    const failed = called.findIndex((one) => typeof one === 'string')
    const sent = failed === -1 ? called : called.slice(0, failed)
    expect(sent).toEqual(sent.map((_, i) => i))
    expect(called.slice(sent.length)).toEqual(called.slice(sent.length).map((_, i) => `failed ${sent.length + i}`))
    if (this.#partly) return
    expect(failed).toBe(-1)
    const received = split(this.#client.received)
    const last = received.at(-1)
    if (this.#closeFrame !== undefined) {
      expect(last && showFrame(last)).toBe(this.#closeFrame)
      received.pop()
    }
    const isPush = ({ opcode, payload }: Received) => opcode === 9 || payload.subarray(0, PUSHED.length).equals(PUSHED)
    expect(received.filter(isPush).map(showFrame)).toEqual(this.#pushes)
    const answers = received.filter((one) => !isPush(one)).map(showFrame)
    if (!latestPong || !this.#wasStalled) expect(answers).toEqual(this.#answers)
    else expectWithoutPongs(answers, this.#answers)
  }
}

/** Expects the same answers, but for pongs that are missing or late. */
function expectWithoutPongs(answers: string[], expected: string[]): void {
  const isPong = (line: string) => line.startsWith('10 ')
  expect(answers.filter((line) => !isPong(line))).toEqual(expected.filter((line) => !isPong(line)))
  const [pongs, wanted] = [answers.filter(isPong), expected.filter(isPong)]
  let at = 0
  for (const pong of pongs) {
    at = wanted.indexOf(pong, at) + 1
    expect(at).toBeGreaterThan(0)
  }
  // Only the latest ping needs an answer.
  expect(pongs.at(-1)).toBe(wanted.at(-1))
}

const STEPS = Number(process.env.EBB_STEPS ?? 1500)
/** Steps of a script, on average. */
const PER_SCRIPT = 20
/** Milliseconds after which a script counts as hanging. */
const TIMEOUT = 20_000

describe.each([
  { name: 'ws', start: () => wsTarget(false), parks: false },
  { name: 'ebb/ws', start: () => wsTarget(true), parks: true },
  { name: 'the core', start: () => coreTarget(), parks: true }
])('$name', ({ start, parks }) => {
  let target: Target
  beforeAll(async () => {
    target = await start()
  })
  afterAll(() => target.close())

  test('random frames, cuts, pushes, sleeps, wakes, slow reading and ends', async () => {
    let [parked, queued, steps] = [0, 0, 0]
    const property = fc.asyncProperty(script, async (one) => {
      const play = await Play.open(target, one)
      await play.run()
      play.check(parks)
      parked += play.parked
      queued += play.queued
      steps += one.steps.length + 1
    })
    await fc.assert(property, { numRuns: Math.ceil(STEPS / PER_SCRIPT), timeout: TIMEOUT })
    expect(parked > 0).toBe(parks)
    expect(queued > 0).toBe(parks)
    if (process.env.EBB_STEPS !== undefined) console.log(`${steps} steps, parked after ${parked}`)
  }, 3_600_000)
})
