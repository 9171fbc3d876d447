/** Servers on one box that are all told at once that memory is short: no co-ordinator, and yet they do not all collect at once. */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Child } from './support/child.js'
import { directory, until } from './support/sockets.js'

const PROCESSES = 8

/** What each process tells of an act: ms of the machine's clock. */
interface Act {
  reason: string
  from: number
  until: number
}

/** Has a governor, and tells of its acts: short ones, or all eight would overlap within the second that they are spread over. */
const PROGRAM = `
  import { subscribe } from 'node:diagnostics_channel'
  import { govern } from 'ebb'
  globalThis.held = Array.from({ length: 30_000 }, (_, i) => ({ i, text: String(i) }))
  govern({ signal: 'SIGUSR2', budget: 1 })
  subscribe('ebb:release', ({ reason, ms }) => {
    const until = performance.timeOrigin + performance.now()
    console.log(JSON.stringify({ reason, from: until - ms, until }))
  })
  console.log('"there"')
  process.stdin.resume()`

/** systemd's protocol with a socket: whoever watches is connected to it, and is told by a byte. */
async function pressure(): Promise<{ path: string; watchers: Socket[] }> {
  const path = join(directory(), 'pressure')
  const watchers: Socket[] = []
  const server = createServer((socket) => {
    watchers.push(socket.on('error', () => {}))
  })
  onTestFinished(() => {
    for (const socket of watchers) socket.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return { path: server.address() as AddressInfo & string, watchers }
}

/** The most acts that were under way at one moment. */
function mostAtOnce(acts: readonly Act[]): number {
  return Math.max(...acts.map(({ from }) => acts.filter((other) => other.from <= from && from < other.until).length))
}

const spanOf = (acts: readonly Act[]): number =>
  Math.max(...acts.map(({ from }) => from)) - Math.min(...acts.map(({ from }) => from))

test('eight processes and one pressure event: their acts are spread over the time that follows', async () => {
  const { path, watchers } = await pressure()
  const children = Array.from(
    { length: PROCESSES },
    () => new Child(PROGRAM, { shell: `export MEMORY_PRESSURE_WATCH='${path}'` })
  )
  await Promise.all(children.map((child) => child.next()))
  await until(() => watchers.length === PROCESSES)

  // Asked by a signal, each acts at once: this is what it looks like when nothing spreads them.
  for (const child of children) child.process.kill('SIGUSR2')
  const together = await Promise.all(children.map((child) => child.next<Act>()))
  expect(together.map(({ reason }) => reason)).toEqual(children.map(() => 'signal'))

  // An act may take all of a governor's time here (budget), so that the next one may follow when as much time has passed; and a second.
  const longest = Math.max(...together.map(({ from, until }) => until - from))
  await new Promise((resolve) => setTimeout(resolve, 3 * longest + 1500))
  for (const socket of watchers) socket.write('x')
  const spread = await Promise.all(children.map((child) => child.next<Act>()))
  expect(spread.map(({ reason }) => reason)).toEqual(children.map(() => 'pressure'))

  // Eight of eight within any short time would be all at once. By chance alone their first and last are closer than that once in
  // many thousand times.
  expect(mostAtOnce(spread)).toBeLessThan(PROCESSES)
  expect(mostAtOnce(spread)).toBeLessThanOrEqual(mostAtOnce(together))
  expect(spanOf(spread)).toBeGreaterThan(spanOf(together))
})
