/**
 * Sources for processes of a handover that wait for each other at its steps. A file says that a step was reached,
 * because both processes are blocked meanwhile. So the order of events is no matter of time, however busy the machine
 * is.
 */
import { join } from 'node:path'
import type { MemberOptions } from './handover.js'
import { directory } from './sockets.js'

/** Time (ms) that the process before waits for its successor: see {@link Patience.before}. */
const TIMEOUT = 100

/** Two processes of which the one before loses patience when the successor has stalled. */
export interface Patience {
  /** Source of the process before. Add it in front of its servers. */
  source: string
  /** Options of the process before. */
  options: NonNullable<MemberOptions['options']>
  /** Source for a step: its process has stalled, so the patience of the other one ends. */
  stall: string
  /** Path of the file that {@link stall} writes. */
  stalled: string
}

/** The clock of the process before stands still from the beginning of the handover on, until the successor stalls. */
export function patience(): Patience {
  const stalled = join(directory(), 'stalled')
  return {
    source: `
      const now = performance.now.bind(performance)
      const { setTimeout: timer } = globalThis
      // A successor that has connected may take its time to say HELLO and READY.
      globalThis.setTimeout = (call, ms, ...args) => timer(call, ms === ${TIMEOUT} ? 60_000 : ms, ...args)
      let frozen
      performance.now = () => frozen === undefined || fs.existsSync('${stalled}') ? now() : frozen
      subscribe('ebb:handover', (name) => { if (name === 'old:welcome') frozen = now() })
    `,
    options: { timeout: `${TIMEOUT}ms` },
    stall: reach(stalled),
    stalled
  }
}

/** Source of a process whose clock can be put forward: `ahead = 60_000`. */
export const CLOCK = `
  const clock = performance.now.bind(performance)
  let ahead = 0
  performance.now = () => clock() + ahead
`

/** Returns the path of a file that says that a step was reached. */
export function milestone(): string {
  return join(directory(), 'reached')
}

/** Source for a step: says that the process has reached it. */
export function reach(path: string): string {
  return `fs.writeFileSync('${path}', '');`
}

/** Source for a step: blocks the process until another one has reached a step. */
export function waitFor(path: string): string {
  return `while (!fs.existsSync('${path}')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);`
}

/** Source of a process, after its servers: waits until it is told to begin its handover. */
export function waitToBegin(loaded: string, begin: string): string {
  return `
    ${reach(loaded)}
    while (!fs.existsSync('${begin}')) await new Promise((resolve) => setTimeout(resolve, 5))
  `
}

/** Source of a process: runs `source` at a step. */
export function at(step: string, source: string): string {
  return `subscribe('ebb:handover', (name) => { if (name === '${step}') { ${source} } });`
}
