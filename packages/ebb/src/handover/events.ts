/** What a handover tells: on channels of `node:diagnostics_channel`, and as counts for metrics. */
import { channel } from 'node:diagnostics_channel'
import { outside } from '../sys/node/callback-scope.js'

/** Published on the channel `ebb:handover:start` when two processes have begun a handover. */
export interface HandoverMessage {
  /** Which process this is: the one that hands over, or the one that takes over. */
  side: 'old' | 'new'
  /** Names of the servers of this process, as given to `handover()`. */
  servers: string[]
  /** Process id of the other process; undefined in an error before it is known. */
  pid: number | undefined
}

/** Published on the channel `ebb:handover:end` when the new process has the servers. */
export interface HandoverEndMessage extends HandoverMessage {
  /** Connections that the new process has got at once. */
  connections: number
  /** Connections that were not at rest. They follow, or end in the old process. */
  awake: number
  /** Milliseconds: `old`: for which this process was blocked; `new`: from the call of `handover()` until now. */
  ms: number
}

/** Published on the channel `ebb:handover:error` when the old process keeps its servers. */
export interface HandoverErrorMessage extends HandoverMessage {
  /** Why. */
  error: Error
}

const started = channel('ebb:handover:start')
const ended = channel('ebb:handover:end')
const failed = channel('ebb:handover:error')

/** Counts of one side. */
interface Totals {
  done: number
  failed: number
  connections: number
  ms: number
}

/** The handovers of this process since its start. */
export const handoverTotals: Record<HandoverMessage['side'], Totals> = {
  old: { done: 0, failed: 0, connections: 0, ms: 0 },
  new: { done: 0, failed: 0, connections: 0, ms: 0 }
}

/** Tells that a handover has begun. */
export function handoverStarted(message: HandoverMessage): void {
  if (started.hasSubscribers) outside(() => started.publish(message))
}

/** Tells that a handover is done. */
export function handoverEnded(message: HandoverEndMessage): void {
  const totals = handoverTotals[message.side]
  totals.done++
  totals.connections += message.connections
  totals.ms += message.ms
  if (ended.hasSubscribers) outside(() => ended.publish(message))
}

/** Tells that a handover has failed. */
export function handoverFailed(message: HandoverErrorMessage): void {
  handoverTotals[message.side].failed++
  if (failed.hasSubscribers) outside(() => failed.publish(message))
}
