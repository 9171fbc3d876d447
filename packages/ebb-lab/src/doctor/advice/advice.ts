/** Advice: what to do about memory, why, and the figure behind it. */
import { integer, megabytes } from '../../units/format.js'
import type { Advice, Diagnosis } from '../diagnosis.js'
import type { PartKind } from '../parts.js'

/** What the rules look at: everything but the advice. */
export type Findings = Omit<Diagnosis, 'advice'>

/** A rule: returns its advice, or undefined if its figure gives no reason for one. */
export type Rule = (found: Findings) => Advice | undefined

/** Bytes below which memory is not worth advice, and the same as a share of the anonymous memory. */
const WORTH_BYTES = 4e6
const WORTH_SHARE = 0.05

/** Whether so many bytes are worth advice in this process. */
export function isWorth(bytes: number, { memory }: Findings): boolean {
  return bytes >= WORTH_BYTES && bytes >= memory.anonymous * WORTH_SHARE
}

/** Returns the bytes of all parts of the kinds. */
export function bytesOf({ parts }: Findings, ...kinds: PartKind[]): number {
  return parts.reduce((sum, { kind, bytes }) => sum + (kinds.includes(kind) ? bytes : 0), 0)
}

/** Returns the number of mappings of a kind. */
export function countOf({ parts }: Findings, kind: PartKind): number {
  return parts.reduce((sum, part) => sum + (part.kind === kind ? part.mappings : 0), 0)
}

/** Makes advice whose figure is in bytes. `reason` follows the figure: `121.0 MB are ...`. */
export function onBytes(code: string, name: string, value: number, advice: Words): Advice {
  const { text, reason, source } = advice
  return { code, text, reason: `${megabytes(value)} ${reason}`, figure: { name, value, unit: 'bytes' }, source }
}

/** Makes advice whose figure is a count. `reason` follows the figure: `120 connections are ...`. */
export function onCount(code: string, name: string, value: number, advice: Words): Advice {
  const { text, reason, source } = advice
  return { code, text, reason: `${integer(value)} ${reason}`, figure: { name, value, unit: 'count' }, source }
}

/** The words of a piece of advice. */
export type Words = Pick<Advice, 'text' | 'reason' | 'source'>
