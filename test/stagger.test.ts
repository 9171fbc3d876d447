/**
 * All servers of a machine hear at once that memory is short. Without a coordinator, they do not all release at once.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Child } from './support/child.js'
import { directory, until } from './support/sockets.js'

const PROCESSES = 8

/** A release as a process reports it: times in ms on the machine's clock. */
interface Report {
  reason: string
  from: number
  until: number
}

/** A program that reports its releases. They are short, or all eight would overlap within the second of the spread. */
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

/** A socket as systemd has it: each watcher connects to it, and a byte sent to a watcher means memory pressure. */
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

/** Returns the largest number of releases that were under way at one moment. */
function mostAtOnce(releases: readonly Report[]): number {
  return Math.max(
    ...releases.map(({ from }) => releases.filter((other) => other.from <= from && from < other.until).length)
  )
}

/** Milliseconds between the first and the last start. */
const spanOf = (releases: readonly Report[]): number =>
  Math.max(...releases.map(({ from }) => from)) - Math.min(...releases.map(({ from }) => from))

test('eight processes and one pressure event: their releases are spread over the following second', async () => {
  const { path, watchers } = await pressure()
  const children = Array.from(
    { length: PROCESSES },
    () => new Child(PROGRAM, { shell: `export MEMORY_PRESSURE_WATCH='${path}'` })
  )
  await Promise.all(children.map((child) => child.next()))
  await until(() => watchers.length === PROCESSES)

  // At a signal each process releases at once. This is what it looks like when nothing spreads the releases.
  for (const child of children) child.process.kill('SIGUSR2')
  const together = await Promise.all(children.map((child) => child.next<Report>()))
  expect(together.map(({ reason }) => reason)).toEqual(children.map(() => 'signal'))

  // The budget is 100 % here, so the next release may follow after the CPU time of the last one, and at least 1 s.
  const longest = Math.max(...together.map(({ from, until }) => until - from))
  await new Promise((resolve) => setTimeout(resolve, 3 * longest + 1500))
  for (const socket of watchers) socket.write('x')
  const spread = await Promise.all(children.map((child) => child.next<Report>()))
  expect(spread.map(({ reason }) => reason)).toEqual(children.map(() => 'pressure'))

  // By chance alone, all eight would fall into such a short time once in many thousand runs.
  expect(mostAtOnce(spread)).toBeLessThan(PROCESSES)
  expect(mostAtOnce(spread)).toBeLessThanOrEqual(mostAtOnce(together))
  expect(spanOf(spread)).toBeGreaterThan(spanOf(together))
})
