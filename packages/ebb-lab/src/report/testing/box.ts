/** Makes recordings of boxes that look like real ones, for tests. Times are ms, sizes are bytes. */
import { BoxBuilder, type BoxHeader, type BoxLine, type BoxRecording } from '../../record/box/recording.js'

/** The first line of a box's recording. */
export const BOX_HEADER: BoxHeader = {
  type: 'box',
  format: 1,
  name: 'four',
  startedAt: '2026-03-14T09:26:53.589Z',
  machine: { cpus: 2, memory: 8_341_712_896, arch: 'x64' },
  kernel: 'Linux 6.1.0-28-amd64',
  every: { status: 100, smaps: 5000, shares: 2000 },
  memory: null
}

/** Any other line of a box's recording. */
export type Rest = Exclude<BoxLine, BoxHeader>

/** Returns the box that lines describe. */
export function boxOf(lines: readonly Rest[], header: Partial<BoxHeader> = {}): BoxRecording {
  const builder = new BoxBuilder({ ...BOX_HEADER, ...header })
  for (const line of lines) builder.add(line)
  return builder.box
}

/** Returns the line with which a run begins. */
export const run = (
  t: number,
  variant: string,
  role: 'main' | 'control' = 'main',
  limit: number | null = null
): Rest => ({
  type: 'run',
  t,
  run: 0,
  variant,
  role,
  limit
})

/** Returns the line of a server that is about to be started. */
export const server = (t: number, id: number, name: string, control: string | null = null): Rest => ({
  type: 'server',
  t,
  server: id,
  name,
  governed: false,
  load: 'pulses of 10',
  control
})

/** Returns the event of a server that listens. */
export const listening = (t: number, id: number): Rest => ({
  type: 'event',
  t,
  server: id,
  event: 'listening',
  pid: 100 + id,
  port: 8000 + id,
  command: ['node', 'server.js'],
  runtime: { name: 'node', version: '20.20.2' }
})

/** Returns a sample of a server. */
export const sample = (t: number, id: number, anonymous: number, share: number | null = null): Rest => ({
  type: 'sample',
  t,
  server: id,
  resident: anonymous + 40e6,
  anonymous,
  file: 40e6,
  private: null,
  proportional: null,
  threads: 11,
  descriptors: 20,
  cpu: Math.round(t / 10),
  share
})

/** Returns the events of a pulse that holds its connections for `hold` ms. */
export const pulse = (t: number, id: number, index: number, size: 'big' | 'small', n: number, hold: number): Rest[] => {
  const event = { type: 'event' as const, server: id, index }
  return [
    { ...event, t, event: 'pulse', size, n },
    { ...event, t: t + 100, event: 'connected', connected: n, failed: 0 },
    { ...event, t: t + 100 + hold, event: 'closing' },
    { ...event, t: t + 200 + hold, event: 'closed', lost: 0 }
  ]
}

/** Returns the last event of a server. By default it is stopped with the run. */
export const end = (t: number, id: number, exitCode: number | null = null, signal: string | null = null): Rest => ({
  type: 'event',
  t,
  server: id,
  event: 'end',
  reason: exitCode === null && signal === null ? 'stopped' : 'exited',
  exitCode,
  signal
})

/** Returns lines in the order of their times, as a recorder writes them. */
export function inOrder(lines: readonly Rest[]): Rest[] {
  return lines
    .map((line, i) => ({ line, i }))
    .sort((a, b) => a.line.t - b.line.t || a.i - b.i)
    .map(({ line }) => line)
}

/**
 * Returns the lines of a run in which servers spike one after the other.
 *
 * @param from start of the run
 * @param first number of the first server
 * @param keeps share of a spike's memory that a server never releases, 0 to 1
 */
export function spikes(variant: string, from: number, first: number, keeps: number, count = 4): Rest[] {
  const lines: Rest[] = [run(from, variant)]
  const length = 1000 + count * 3000
  for (let i = 0; i < count; i++) {
    const id = first + i
    const begins = from + 1000 + i * 3000
    lines.push(server(from, id, `server ${i + 1}`), listening(from, id), ...pulse(begins, id, 0, 'big', 10_000, 1000))
    for (let t = 0; t < length; t += 100) {
      const since = from + t - begins
      const spike = since < 0 ? 0 : since < 1200 ? 1 : keeps
      lines.push(sample(from + t, id, 10e6 + spike * 60e6, t % 2000 === 0 ? 20e6 + spike * 60e6 : null))
    }
    lines.push(end(from + length, id))
  }
  for (let t = 0; t < length; t += 100) lines.push({ type: 'machine', t: from + t, kernel: 0, group: null })
  return inOrder(lines)
}

/** Returns a box with two variants: `plain` keeps all memory of its spikes, `ebb` keeps none. */
export function twoVariants(): BoxRecording {
  const lines = [...spikes('plain', 0, 0, 1), ...spikes('ebb', 20_000, 4, 0)]
  return boxOf([...lines, { type: 'end', t: 40_000, reason: 'done' }], { memory: 8e9 })
}
