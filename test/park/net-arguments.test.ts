/** `listen()` with generated arguments: the error, the address and the state afterwards are those of plain Node. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createPlain, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Kind, PARKED, PLAIN } from '../support/net-parity.js'

/** Calls per test. */
const CALLS = 40

/** Makes numbers from 0 to below `limit`, the same for the same seed. */
function generator(seed: number): (limit: number) => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1
  return (limit) => {
    state = (state ^ (state << 13)) >>> 0
    state = (state ^ (state >>> 17)) >>> 0
    state = (state ^ (state << 5)) >>> 0
    return state % limit
  }
}

const busy = createPlain()
let busyPort = 0
beforeAll(async () => {
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve))
  busyPort = (busy.address() as { port: number }).port
})
afterAll(() => {
  busy.close()
})

type Value = (home: string) => unknown

const values = (...list: unknown[]): Value[] => list.map((value) => () => value)

const PORTS: Value[] = [...values(0, '0', ' 0 ', '0x0', [0]), () => busyPort, () => `${busyPort}`]
const PATHS: Value[] = [
  (home) => join(home, 'a'),
  (home) => join(home, 'busy'),
  (home) => join(home, 'file'),
  (home) => join(home, 'file', 'a'),
  (home) => join(home, 'missing', 'a'),
  (home) => home,
  (home) => `${home}/${'x'.repeat(107 - home.length - 1)}`,
  (home) => `${home}/${'x'.repeat(108 - home.length)}`,
  (home) => `${home}/${'ü'.repeat(60)}`,
  (home) => `\0${home}`,
  (home) => `${home}/nul\0b`,
  ...values('', ' ', '\0')
]
const HOSTS = values('127.0.0.1', '::1', '::', '0.0.0.0', '', '127.0.0.2', '1.2.3.4', undefined, null, 5, true)
const BACKLOGS = values(undefined, null, 0, 1, -1, 511, 1e10, '5', 'x', Number.NaN, true, {})
const FLAGS = values(undefined, null, true, false, 0, 1, 'x')
const ODD = values(undefined, null, true, false, 1.5, -1, Number.NaN, 65_536, '65536', 'x', {}, [], Symbol('s'), 5n)
/** Text in the place of a host would be looked up. */
const NO_TEXT = [...BACKLOGS, ...ODD].filter((value) => typeof value('') !== 'string')
const SIGNALS: Value[] = [() => new AbortController().signal, () => AbortSignal.abort(), ...values('no', null, {})]
const HANDLES: Value[] = [() => createPlain(), ...values({ _handle: {} }, { fd: 99_999 }, { fd: -1 }, { fd: 2 ** 31 })]
const OPTIONS: [string, Value[]][] = [
  ['port', [...PORTS, ...ODD]],
  ['path', [...PATHS, ...ODD]],
  ['host', HOSTS],
  ['backlog', BACKLOGS],
  ['exclusive', FLAGS],
  ['ipv6Only', FLAGS],
  ['readableAll', FLAGS],
  ['writableAll', FLAGS],
  ['signal', SIGNALS],
  ['fd', values(undefined, null, -1, 'x', 99_999)],
  ['handle', values(undefined, null, {}, { port: 0 })]
]

/** Makes the arguments of one call. */
function generate(below: (limit: number) => number): (home: string) => unknown[] {
  const pick = <T>(list: T[]): T => list[below(list.length)] as T
  const callback = below(2) > 0 ? [() => {}] : []
  const form = below(10)
  if (form === 0) {
    const handle = pick(HANDLES)
    return (home) => [handle(home), ...callback]
  }
  if (form < 6) {
    const first = pick([PORTS, PATHS])
    const set: [string, Value][] = [[first === PORTS ? 'port' : 'path', pick(first)]]
    for (let more = below(4); more > 0; more--) {
      const [name, list] = pick(OPTIONS)
      set.push([name, pick(list)])
    }
    return (home) => [Object.fromEntries(set.map(([name, value]) => [name, value(home)])), ...callback]
  }
  const lists = [pick([PORTS, PATHS, ODD]), pick([HOSTS, NO_TEXT]), pick([BACKLOGS, ODD])]
  const positional = lists.slice(0, 1 + below(3)).map(pick)
  return (home) => [...positional.map((value) => value(home)), ...callback]
}

/** What a call does: events and errors, and what can be seen of the server after it. */
async function play(kind: Kind, make: (home: string) => unknown[]): Promise<string[]> {
  const home = mkdtempSync(join(tmpdir(), 'ebb-listen-'))
  writeFileSync(join(home, 'file'), '')
  const owner = createPlain()
  await new Promise<void>((resolve) => owner.listen(join(home, 'busy'), resolve))
  const seen: unknown[] = []
  const server = kind.create({}) as Server & { _handle: object | null; _connectionKey?: string }
  for (const event of ['listening', 'close']) server.on(event, () => seen.push(event))
  server.on('error', (error) => seen.push(describe(error)))
  const state = (): void => {
    const { listening, _handle: handle, _connectionKey: key } = server
    const address = server.address()
    const where = typeof address === 'object' && address !== null ? [address.address, address.family] : address
    const counts = ['listening', 'close', 'error'].map((event) => server.listenerCount(event))
    seen.push([listening, where, handle?.constructor.name, key, counts, readdirSync(home)])
  }
  try {
    seen.push(server.listen(...(make(home) as [port: number])) === server)
  } catch (error) {
    seen.push(describe(error))
  }
  state()
  // An event of the call comes in the next tick: none of the hosts needs a lookup.
  await new Promise((resolve) => setImmediate(resolve))
  state()
  await new Promise((resolve) => server.close(resolve))
  state()
  await new Promise((resolve) => owner.close(resolve))
  rmSync(home, { recursive: true, force: true })
  return seen.map((value) => JSON.stringify(value)?.replaceAll(home, 'home'))
}

function describe(error: unknown): object {
  const { name, code, message, syscall, address, port } = error as NodeJS.ErrnoException & Record<string, unknown>
  return { name, code, message, syscall, address, port }
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])('as plain Node, seed %i', async (seed) => {
  const below = generator(seed)
  for (let i = 0; i < CALLS; i++) {
    const make = generate(below)
    const kind = PARKED[i % PARKED.length] as Kind
    expect(await play(kind, make), `call ${i}, ${kind.name}`).toEqual(await play(PLAIN, make))
  }
})
