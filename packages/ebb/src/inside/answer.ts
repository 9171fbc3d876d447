/** The questions that can be asked at the inside socket, and their answers. */

import { type Release, releaseUnheld } from '../memory/release.js'
import type { ErrorCode } from '../sys/error-codes.js'
import { VERSION } from './name.js'
import type { Inside, InsideCounters } from './types.js'
import { counters, inside } from './view.js'

/** What can be asked. */
export type Question = 'inside' | 'counters' | 'release'

/** The answer to `release`: memory was released, and these are the figures. */
export interface InsideRelease extends Omit<Release, 'ms'> {
  /** Always 1. */
  version: number
  /** Process id, as the process itself sees it. */
  pid: number
  /** Anonymous memory after the release, bytes: `before - after` went back to the system. */
  after: number
  /** The longest pause of the event loop by the release, ms. */
  ms: number
  /** Milliseconds from the start to the end of the release. The program ran for most of them. */
  duration: number
}

/** The answer if there is none: the question is not understood, or something has failed. */
export interface Refusal {
  version: number
  error: { code: ErrorCode; message: string }
}

/** What is sent back, as a line of JSON. */
export type Answer = Inside | InsideCounters | InsideRelease | Refusal

/** Returns the answer that says why there is none. */
export function refusal(why: string): Refusal {
  return { version: VERSION, error: { code: 'ERR_EBB_INSIDE', message: why } }
}

/** Returns the answer to a question, which is JSON. May fail as a release may. */
export async function answer(text: string): Promise<Answer> {
  const question = parse(text)
  if (question === undefined) return refusal('a question is a line of JSON such as {"ask":"inside","version":1}')
  const { ask, version } = question
  if (version !== VERSION)
    return refusal(`this process answers version ${VERSION} only, not ${JSON.stringify(version)}`)
  if (ask === 'inside') return inside()
  if (ask === 'counters') return counters()
  if (ask === 'release') return releaseInside()
  return refusal('`ask` must be "inside", "counters" or "release"')
}

function parse(text: string): { ask?: unknown; version?: unknown } | undefined {
  try {
    const question: unknown = JSON.parse(text)
    return typeof question === 'object' && question !== null ? question : undefined
  } catch {
    return undefined
  }
}

/**
 * Releases memory as the question `release` of the inside socket does: in steps, as the governor does, so that the
 * program does not stop for long; of worker threads, too; and until nothing is left. Does not hold the process open.
 *
 * @returns a promise, rejected as that of `release()`
 */
export async function releaseInside(): Promise<InsideRelease> {
  const { ms, ...done } = await releaseUnheld({ workers: true, inSteps: true, enough: 0 })
  return { version: VERSION, pid: process.pid, ...done, after: done.afterTrim, ms: done.pauseMs, duration: ms }
}
