/** Parses the lines that servers print: clients and memory, releases, and anything else as text. */
import { isCount } from '../units/count.js'
import type { DistributiveOmit } from '../units/types.js'
import type { RecordingEvent } from './recording.js'

/** An event before it has a time. */
export type Mark = DistributiveOmit<RecordingEvent, 'type' | 't'>

/** What a line of a server's output can become. */
export type LineMark = Extract<Mark, { event: 'cycle' | 'release' | 'line' }>

/** UTF-16 units of a line that are kept. */
export const LONGEST_TEXT = 1000

/** The time stamp that Go's `log` puts in front of a line by default. */
const STAMP = String.raw`(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? )?`

const CYCLE = new RegExp(
  String.raw`^${STAMP}Cycle #\s*(\d+):\s*(\d+) clients\s*\|\s*System:\s*(\d+)\s+Inuse:\s*(\d+)\s+Released:\s*(\d+)\s+Objects:\s*(\d+|-)\s*$`
)

const RELEASE = new RegExp(
  String.raw`^${STAMP}Release #\s*\d+:\s*(\d+) -> (\d+) bytes in (\d+(?:\.\d+)?) ms(?: \(pause (\d+(?:\.\d+)?) ms\))?\s*$`
)

/** The log line of `ebb/auto` with `EBB_LOG=1`, a documented format. Sizes are MB with one digit. */
const GOVERNOR_RELEASE =
  /^ebb: gave back -?\d+\.\d MB \((\d+\.\d) -> (\d+\.\d)\) in (\d+) ms, longest pause (\d+) ms: \w+\s*$/

/**
 * Parses one line, without its newline. Understands these formats, and makes a `line` event of anything else:
 * - `Cycle #  1: 10000 clients | System: 5902336 Inuse: 5287312 Released: 0 Objects: -`
 * - `{"event":"cycle","cycle":1,"clients":10000,"system":...,"inuse":...,"released":...,"objects":null}`
 * - `Release #  1: 9650176 -> 8511488 bytes in 12.3 ms (pause 8.1 ms)`
 * - `{"event":"release","before":...,"after":...,"ms":...,"pauseMs":...}`
 * - `ebb: gave back 2.4 MB (12.1 -> 9.7) in 22 ms, longest pause 18 ms: spike`, of `ebb/auto`
 */
export function parseLine(text: string): LineMark {
  // No format is this long, so the patterns are not tried on very long lines.
  if (text.length <= LONGEST_TEXT) {
    const mark = text.startsWith('{') ? fromJson(text) : (cycle(text) ?? release(text) ?? governorRelease(text))
    if (mark) return mark
  }
  return { event: 'line', text: cut(text) }
}

/** Whether a line that starts with this byte may have one of the formats of {@link parseLine}. */
export function mayHaveFormat(firstByte: number): boolean {
  // C(ycle), R(elease), e(bb), {, or the first digit of a time stamp.
  const letter = firstByte === 0x43 || firstByte === 0x52 || firstByte === 0x65 || firstByte === 0x7b
  return letter || (firstByte >= 0x30 && firstByte <= 0x39)
}

function cycle(text: string): LineMark | null {
  const match = CYCLE.exec(text)
  if (!match) return null
  const [, cycle, clients, system, inuse, released, objects] = match
  return checkedCycle({
    cycle: Number(cycle),
    clients: Number(clients),
    system: Number(system),
    inuse: Number(inuse),
    released: Number(released),
    objects: objects === '-' ? null : Number(objects)
  })
}

function release(text: string): LineMark | null {
  const match = RELEASE.exec(text)
  if (!match) return null
  const [, before, after, ms, pause] = match
  return checkedRelease({
    before: Number(before),
    after: Number(after),
    ms: Number(ms),
    pauseMs: pause === undefined ? null : Number(pause)
  })
}

function governorRelease(text: string): LineMark | null {
  const match = GOVERNOR_RELEASE.exec(text)
  if (!match) return null
  const [, before, after, ms, pause] = match
  const bytes = (mb: string | undefined): number => Math.round(Number(mb) * 1e6)
  return checkedRelease({ before: bytes(before), after: bytes(after), ms: Number(ms), pauseMs: Number(pause) })
}

function fromJson(text: string): LineMark | null {
  let value: Record<string, unknown>
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (value.event === 'cycle') return checkedCycle(value)
  if (value.event === 'release') return checkedRelease(value)
  return null
}

function checkedCycle(value: Record<string, unknown>): LineMark | null {
  const { cycle, clients, system, inuse, released } = value
  const objects = value.objects ?? null
  if (!isCount(cycle) || !isCount(clients) || !isCount(system) || !isCount(inuse) || !isCount(released)) return null
  if (objects !== null && !isCount(objects)) return null
  return { event: 'cycle', cycle, clients, system, inuse, released, objects }
}

function checkedRelease(value: Record<string, unknown>): LineMark | null {
  const { before, after, ms } = value
  const pauseMs = value.pauseMs ?? null
  if (!isCount(before) || !isCount(after) || !isTime(ms)) return null
  if (pauseMs !== null && !isTime(pauseMs)) return null
  return { event: 'release', before, after, ms, pauseMs }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

/** Returns the first {@link LONGEST_TEXT} units of a text, without splitting a surrogate pair. */
function cut(text: string): string {
  if (text.length <= LONGEST_TEXT) return text
  const last = text.charCodeAt(LONGEST_TEXT - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? LONGEST_TEXT - 1 : LONGEST_TEXT)
}
